// How the chat of chat.js looks: JupyterLab's colours where there are any, else our own, and those
// follow the page's `color-scheme`.

// A constructed style sheet is one for all chats, and no Content-Security-Policy forbids it.
export const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
  :host { display: block; color-scheme: inherit; margin: .25rem 0; max-width: 46rem; }
  :host([data-full]) { max-width: none; height: 100%; margin: 0; }
  * { box-sizing: border-box; margin: 0; }
  [hidden] { display: none !important; }
  .frame {
    --surface: var(--jp-layout-color1, light-dark(#ffffff, #24211e));
    --raised: var(--jp-layout-color2, light-dark(#f7f5f2, #171513));
    --line: var(--jp-border-color2, light-dark(#e3ddd5, #38332e));
    --text: var(--jp-ui-font-color1, light-dark(#221e1a, #f1ece6));
    --quiet: color-mix(in srgb, var(--text) 74%, var(--surface));
    --field-line: color-mix(in srgb, var(--text) 52%, var(--surface));
    --accent: var(--jp-brand-color1, light-dark(#b93c0a, #b4450f));
    --on-accent: var(--jp-ui-inverse-font-color1, #ffffff);
    --mine: color-mix(in srgb, var(--accent) 15%, var(--surface));
    --on-mine: var(--text);
    --good: var(--jp-success-color1, light-dark(#17803d, #4ade80));
    --wait: var(--jp-warn-color1, light-dark(#a16207, #facc15));
    --bad: var(--jp-error-color1, light-dark(#b91c1c, #fca5a5));
    --gap: .75rem; --tall: 2.1rem; --round: .5rem;
    position: relative; display: flex; flex-direction: column; overflow: hidden;
    max-height: max(15rem, min(32rem, 80vh)); scrollbar-color: var(--field-line) transparent;
    border: 1px solid var(--line); border-radius: var(--round);
    background: var(--surface); color: var(--text); text-align: start; white-space: normal;
    font: var(--jp-ui-font-size1, 13px)/1.45 var(--jp-ui-font-family, system-ui, -apple-system,
      "Segoe UI", Roboto, "DejaVu Sans", sans-serif);
  }
  :host([data-full]) .frame {
    --gap: max(1rem, (100% - 46rem) / 2); --tall: 2.75rem; --round: .8rem;
    --mine: var(--accent); --on-mine: var(--on-accent);
    height: 100%; max-height: none; border: 0; border-radius: 0; font-size: 1rem;
  }
  .unseen {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
    white-space: nowrap;
  }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }

  header {
    flex: none; display: flex; flex-wrap: wrap; align-items: center; gap: 0 .6rem;
    padding: .4rem var(--gap); border-bottom: 1px solid var(--line);
  }
  .avatar {
    display: none; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: .8rem;
    background: var(--accent); color: var(--on-accent); font-weight: 700; font-size: 1.15rem;
    text-transform: uppercase;
  }
  .who { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .6rem; min-width: 0; }
  .title { font-size: 1.05em; font-weight: 700; overflow-wrap: anywhere; }
  .state { display: flex; align-items: center; gap: .4rem; color: var(--quiet); }
  .dot { flex: none; width: .6em; height: .6em; border-radius: 50%; background: var(--wait); }
  [data-state="open"] .dot { background: var(--good); }
  [data-state="closed"] .dot { background: var(--bad); }
  [data-state="stopped"] .dot { background: var(--quiet); }
  :is([data-state="connecting"], [data-state="away"], [data-state="waiting"]) .dot {
    animation: pulse 1.2s ease-in-out infinite;
  }
  @keyframes pulse { 50% { opacity: .25; } }
  .address {
    flex: 0 1 auto; min-width: 0; max-width: 100%; margin-inline-start: auto; color: var(--quiet);
    overflow: hidden; text-overflow: ellipsis; white-space: nowrap; outline-offset: -2px;
  }
  :host([data-full]) header { min-height: 4rem; }
  :host([data-full]) .avatar { display: grid; }
  :host([data-full]) .who { flex-direction: column; align-items: flex-start; }
  :host([data-full]) .state { font-size: .85rem; }
  :host([data-full]) .address { display: none; }
  .console { margin-inline-start: auto; color: var(--quiet); }

  .log {
    flex: 1 1 auto; min-height: 4.5rem; padding: .6rem var(--gap) .75rem; overflow-y: auto;
    overscroll-behavior: contain; outline-offset: -2px;
  }
  :host([data-full]) .log { background: var(--raised); }
  .empty, .notice, .older { color: var(--quiet); text-align: center; text-wrap: balance; }
  .empty { padding: .9rem .5rem; }
  .empty strong { display: block; color: var(--text); font-size: 1.1em; }
  .notice, .older { margin-block: .6rem; font-size: .92em; overflow-wrap: anywhere; }
  .notice.line { display: flex; align-items: center; gap: .8em; }
  .notice.line::before, .notice.line::after { content: ""; flex: 1; min-width: 1em; border-top: 1px solid; opacity: .35; }
  .notice.bad { color: color-mix(in srgb, var(--bad) 60%, var(--text)); }
  .turn { display: flex; flex-direction: column; align-items: flex-start; gap: .2rem; }
  .turn + .turn { margin-top: .5rem; }
  .turn.you { align-items: flex-end; }
  .byline { padding-inline: .2rem; color: var(--quiet); font-size: .88em; }
  .bubble {
    max-width: min(90%, 40rem); padding: .3rem .65rem; border: 1px solid var(--line);
    border-radius: calc(var(--round) + .25rem); background: var(--raised);
    overflow-wrap: anywhere; min-width: 0;
  }
  p.bubble, .text p, .text li { white-space: pre-wrap; }
  :host([data-full]) .bubble { padding: .5rem .9rem; background: var(--surface); }
  .you .bubble, :host([data-full]) .you .bubble {
    border-color: color-mix(in srgb, var(--accent) 45%, var(--surface));
    background: var(--mine); color: var(--on-mine);
  }
  .code { font: .94em/1.45 var(--jp-code-font-family, ui-monospace, "DejaVu Sans Mono", Menlo,
    monospace); }
  .bubble > * + *, .text > * + * { margin-top: .5em; }
  .text :is(ul, ol) { padding-inline-start: 1.5em; }
  .text blockquote { padding-inline-start: .7em; border-inline-start: 3px solid var(--line); color: var(--quiet); }
  .text :is(h3, h4, h5, h6) { font-size: 1.05em; }
  .text hr { border: 0; border-top: 1px solid var(--line); }
  .bubble a { color: inherit; text-decoration: underline; text-underline-offset: .15em; }
  .text :not(pre) > code {
    padding: .05em .3em; border-radius: .3em;
    background: color-mix(in srgb, var(--text) 9%, transparent);
    font: .94em/1.45 var(--jp-code-font-family, ui-monospace, "DejaVu Sans Mono", Menlo, monospace);
  }
  pre.code, .wide { max-width: 100%; overflow: auto; }
  pre.code {
    max-height: 20rem; padding: .5rem .65rem; border-radius: .4rem;
    background: color-mix(in srgb, var(--text) 6%, transparent);
  }
  pre.code code { font: inherit; }
  summary { cursor: pointer; color: var(--quiet); }
  .picture { display: block; }
  .picture img { display: block; max-width: 100%; max-height: 20rem; border-radius: .3rem; }
  table { border-collapse: collapse; }
  th, td { padding: .2em .6em; border: 1px solid var(--line); text-align: start; }
  .number { text-align: end; font-variant-numeric: tabular-nums; }
  .typing { display: flex; gap: .3em; padding: .6em .3em; }
  .typing i {
    width: .45em; height: .45em; border-radius: 50%; background: var(--quiet);
    animation: pulse 1.2s ease-in-out infinite;
  }
  .typing i:nth-child(2) { animation-delay: .2s; }
  .typing i:nth-child(3) { animation-delay: .4s; }
  :is(.bubble[aria-busy="true"]:not(:has(> .text:last-child)),
    .bubble[aria-busy="true"] > .text:last-child > :last-child)::after {
    content: ""; display: inline-block; width: .5em; height: 1em; margin-inline-start: .15em;
    vertical-align: text-bottom; background: var(--accent); animation: pulse 1s steps(2) infinite;
  }

  form { scroll-margin: .6rem; }
  .trouble, form {
    flex: none; display: flex; align-items: flex-end; gap: .5rem; padding: .5rem var(--gap);
    border-top: 1px solid var(--line);
  }
  .trouble { flex-wrap: wrap; align-items: center; padding-block: .35rem; }
  .trouble p { flex: 1 1 12rem; overflow-wrap: anywhere; }
  :host([data-full]) form { padding-block: .75rem calc(.75rem + env(safe-area-inset-bottom)); }
  textarea {
    flex: 1; min-width: 0; height: var(--tall); min-height: var(--tall); max-height: 8rem;
    padding: calc((var(--tall) - 2px - 1.45em) / 2) .65rem; resize: none;
    border: 1px solid var(--field-line); border-radius: var(--round); background: transparent;
    color: inherit; font: inherit;
  }
  textarea:focus-visible { border-color: var(--accent); outline-width: 1px; outline-offset: 0; }
  textarea::placeholder { color: var(--quiet); opacity: 1; }
  .button {
    flex: none; display: inline-grid; place-items: center; min-height: var(--tall);
    padding: 0 .9rem; border: 1px solid var(--accent); border-radius: var(--round);
    background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600;
    text-decoration: none; cursor: pointer;
  }
  .button.plain, .button[aria-disabled="true"] {
    background: var(--surface); border-color: var(--field-line); color: var(--text);
  }
  .button[aria-disabled="true"] { color: var(--quiet); cursor: not-allowed; }
  .trouble .button { min-height: 1.9rem; }
  :host([data-full]) .trouble .button { min-height: 2.5rem; }
  .river { position: relative; height: 0; }
  .below {
    position: absolute; inset-inline: 0; bottom: .4rem; width: fit-content; margin: 0 auto;
    min-height: 1.8rem; border-radius: 2rem;
  }
  @media (forced-colors: active) {
    .bubble, .button { border: 1px solid; }
    .dot { forced-color-adjust: none; }
  }
  @media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
`);
