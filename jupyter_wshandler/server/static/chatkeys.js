// Which keys are the chat's, and which are the notebook's around it.

// Keys with Ctrl or Cmd that move or edit text are the chat's; others, such as "save", are not.
// AltGr is Ctrl and Alt for some systems, and on a Mac Ctrl alone moves the cursor.
const MAC = /^Mac/.test(navigator.platform);
export const isForNotebook = ({key, ctrlKey, metaKey, altKey}) => (
  (MAC ? metaKey && !ctrlKey : ctrlKey && !metaKey) && !altKey && /^[bd-uw]$/i.test(key));

// Lumino looks for its shortcuts at the document, before anybody else there sees a key, and not
// where this attribute is; the window comes before the document.
export const SUPPRESS = 'data-lm-suppress-shortcuts';
globalThis.addEventListener('keydown', (event) => {
  const host = event.target?.closest?.('.wshandler-chat, .wshandler-share');
  if (!host?.shadowRoot) return;
  if (isForNotebook(event)) host.removeAttribute(SUPPRESS);
  else host.setAttribute(SUPPRESS, 'true');
}, {capture: true});
