// The page of a bot that has none of its own: nothing but its chat. In a file of its own, because
// the page's Content-Security-Policy lets no script run that stands in the page.

const main = document.querySelector('main');
if (new URLSearchParams(location.search).has('token')) {
  // The login cookie is set by now; a token does not belong in the address bar.
  history.replaceState(null, '', location.pathname);
}
try {
  const {mount} = await import('./chat.js');
  // The page is served at the route's own address: the socket is there too, at any base_url.
  const path = location.pathname;
  const {host} = mount(main, {path, title: main.dataset.title, key: path, full: true});
  host.shadowRoot.querySelector('textarea').focus();
} catch (error) {
  main.textContent = 'The chat could not be loaded. Reload the page.';
  throw error;
}
