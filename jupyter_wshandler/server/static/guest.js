// What a page is that was served to a guest: in a sandbox, with the origin `null`, without cookies and
// storage. The server has written a ticket into it, and where its files are; see sandbox.py.

const page = globalThis.document;  // a worker has none
// Some scripts replace what is in the head, so that it is read as soon as this module is there.
export const GUEST = page?.querySelector('meta[name="wshandler-guest"]')?.content ?? '';

// The origin of this page's address, for a page that has lost its own.
export const ORIGIN = GUEST ? location.origin : globalThis.origin;

// The address of a guest's page, or of a file of it, as it is for everybody.
export const plain = (href) => href.replace(/\/wshandler\/guest\/[\w-]{32}\//, '/');

// Load the page again, for a new ticket; but not if that is what it has just done.
export function loadAgain() {
  if (performance.getEntriesByType('navigation')[0]?.type !== 'reload') location.reload();
}

// In a page whose files are elsewhere, the browser would look for `#part` there.
if (GUEST && page.querySelector('base')) {
  page.addEventListener('click', (event) => {
    const link = event.composedPath()[0].closest?.('a[href^="#"]');
    const {button, ctrlKey, metaKey, shiftKey, altKey, defaultPrevented} = event;
    if (!link || link.target || button || ctrlKey || metaKey || shiftKey || altKey) return;
    if (defaultPrevented) return;
    event.preventDefault();
    location.hash = link.getAttribute('href');
  });
}
