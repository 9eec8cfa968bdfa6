// The page of a bot that has none of its own: nothing but its chat. In a file of its own, because
// the page's Content-Security-Policy lets no script run that stands in the page.

const main = document.querySelector('main');
const address = new URL(location.href);
// The login cookie is set by now; a token does not belong in the address bar. The other one is the
// Hub's own count. What is not there is not deleted: that would have the rest spelled anew.
for (const name of ['token', 'redirects']) {
  if (address.searchParams.has(name)) address.searchParams.delete(name);
}
try {
  if (address.href !== location.href) history.replaceState(null, '', address);
} catch { /* a guest's page may not, and has no token */ }
try {
  const {mount} = await import('./chat.js');
  const {make} = await import('./make.js');
  // The page is served at the route's own address: the socket is there too, at any base_url, and
  // what the page is asked with is for the bot.
  const path = location.pathname + location.search;
  const {host} = mount(main, {path, title: main.dataset.title, key: path, full: true});
  const console_ = main.dataset.console;  // for who may see what the server does
  if (console_) {
    host.shadowRoot.querySelector('header').append(
      make('a', {href: console_, className: 'console', title: 'What this server does'}, 'Console'));
  }
  host.shadowRoot.querySelector('textarea').focus();
} catch (error) {
  main.textContent = 'The chat could not be loaded. Reload the page.';
  throw error;
}
