// JupyterLab and Notebook 7: the server's bots under "Running", a tile in the launcher, and their
// console in a panel. Written by hand, as a module that is federated: Lab gives what it shares to
// `init`, and asks `get` for the extension (module federation's two calls).
{
  const NAME = 'jupyter-wshandler';
  const COMMAND = 'wshandler:console';
  const TITLE = 'WebSocket bots';
  const EVERY = 10_000;  // milliseconds between two looks, while the page is seen
  const ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><path '
    + 'class="jp-icon3" fill="#616161" d="M4 3h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2h-7l-5 4v-4H4a2 2 '
    + '0 0 1-2-2V5a2 2 0 0 1 2-2zm3.5 5.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3zm9 0a1.5 1.5 0 1 0 '
    + '0 3 1.5 1.5 0 0 0 0-3z"/></svg>';

  let shared = {};

  // Return a module that Lab shares, or nothing where this application has none of that name.
  async function load(name) {
    const [version] = Object.values(shared[name] ?? {});
    return version ? (await version.get())() : {};
  }

  // The routes of the server as its API tells them.
  class Routes {
    found = [];
    framed = true;  // whether a page of this server may be shown in a frame

    constructor({ServerConnection, settings, Signal}) {
      this.api = `${settings.baseUrl}wshandler/api/routes`;
      this.ask = (url, init = {}) => ServerConnection.makeRequest(url, init, settings);
      this.changed = new Signal(this);
    }

    // Look now; answer whether this person may, on a server that has the API.
    async look() {
      const answer = await this.ask(this.api);
      // JupyterHub forbids it, and has one policy for all that a user's server answers.
      const policy = answer.headers.get('Content-Security-Policy') ?? '';
      this.framed = !/frame-ancestors\s+'none'/.test(policy);
      if (answer.ok) {
        const {routes} = await answer.json();
        routes.sort((one, other) => one.pattern.localeCompare(other.pattern));
        const isNews = JSON.stringify(routes) !== JSON.stringify(this.found);
        this.found = routes;
        if (isNews) this.changed.emit();
      }
      return ![403, 404].includes(answer.status);
    }

    // Look again and again; a server that is away is asked again.
    async follow() {
      let goesOn = true;
      while (goesOn) {
        await new Promise((done) => setTimeout(done, EVERY));
        if (!document.hidden) goesOn = await this.look().catch(() => true);
      }
    }

    // Stop a bot of a notebook.
    async stop({name}) {
      const url = `${this.api}/${encodeURIComponent(name)}`;
      const answer = await this.ask(url, {method: 'DELETE'});
      if (!answer.ok) throw new Error((await answer.json()).message);
      await this.look();
    }
  }

  const isBot = (route) => route.host === 'kernel';

  function connected(route) {
    return route.state === 'broken' ? 'broken' : `${route.connections} connected`;
  }

  function title(route) {
    const what = isBot(route) ? 'A bot of a notebook' : 'A route of the server’s configuration';
    return [`${what}: ${route.name}`, connected(route), route.error].filter(Boolean).join('\n');
  }

  // What "Running" shows of the routes.
  function manager(routes, icon, open, complain) {
    const stop = (route) => routes.stop(route).catch((error) => complain(route, error));
    return {
      name: TITLE,
      running: () => routes.found.map((route) => ({
        label: () => route.pattern,
        labelTitle: () => title(route),
        detail: () => connected(route),
        icon: () => icon,
        open: () => open(route),
        // The others are served until the configuration says otherwise.
        ...(isBot(route) ? {shutdown: () => stop(route)} : {}),
      })),
      refreshRunning: () => routes.look(),
      runningChanged: routes.changed,
      shutdownAll: () => routes.found.filter(isBot).forEach(stop),
      shutdownLabel: 'Stop',
      shutdownAllLabel: 'Stop all bots',
      shutdownAllConfirmationText:
        'Stop all bots of notebooks? Routes of the server’s configuration go on.',
    };
  }

  // Have a frame be as light or dark as Lab: by itself it goes by the system. The page in it hears
  // of the frame's color scheme as of the reader's wish (Media Queries 5, prefers-color-scheme).
  function likeLab(widget) {
    const {body} = document;
    const paint = () => {
      const frame = widget.node.querySelector('iframe');
      frame.style.colorScheme = body.dataset.jpThemeLight === 'false' ? 'dark' : 'light';
    };
    const watch = new MutationObserver(paint);
    watch.observe(body, {attributeFilter: ['data-jp-theme-light']});
    widget.disposed.connect(() => watch.disconnect());
    paint();
  }

  async function extension() {
    const [application, apputils, services, running, launcher, components, signaling] =
      await Promise.all([
        '@jupyterlab/application', '@jupyterlab/apputils', '@jupyterlab/services',
        '@jupyterlab/running', '@jupyterlab/launcher', '@jupyterlab/ui-components',
        '@lumino/signaling',
      ].map(load));
    const tokens = [
      running.IRunningSessionManagers, launcher.ILauncher, apputils.ICommandPalette,
      application.ILayoutRestorer,
    ];

    function activate(app, ...parts) {
      // Of the tokens that there are, in their order.
      const given = new Map(tokens.filter(Boolean).map((token, index) => [token, parts[index]]));
      const [runs, tiles, palette, restorer] = tokens.map((token) => given.get(token));
      const {serverSettings: settings} = app.serviceManager;
      const icon = new components.LabIcon({name: 'wshandler:bots', svgstr: ICON});
      const routes = new Routes({...services, ...signaling, settings});
      const tracker = new apputils.WidgetTracker({namespace: 'wshandler'});
      let widget;
      const address = (route) => `${settings.baseUrl}wshandler/`
        + (route ? `#try?route=${encodeURIComponent(route)}` : '');

      function panel(route) {
        // Of the server's own origin, and its own page: a sandbox would keep nothing from it.
        const sandbox = ['allow-same-origin', 'allow-scripts', 'allow-forms', 'allow-popups',
          'allow-downloads', 'allow-modals'];
        const content = new apputils.IFrame({sandbox});
        content.url = address(route);
        likeLab(content);
        const made = new apputils.MainAreaWidget({content});
        made.id = 'wshandler-console';
        Object.assign(made.title, {label: TITLE, icon, closable: true});
        return made;
      }

      app.commands.addCommand(COMMAND, {
        label: TITLE,
        caption: 'Routes, connections, rooms and errors of this server',
        icon,
        execute: async ({route, restored} = {}) => {
          // A panel of before comes back before anything else is asked.
          if (restored) await routes.look().catch(() => true);
          // Notebook has one document a page: a browser's tab is its panel.
          if (app.name === 'Jupyter Notebook' || !routes.framed) {
            // A browser opens none where nobody has clicked.
            return restored ? undefined : void window.open(address(route));
          }
          if (!widget || widget.isDisposed) {
            widget = panel(route);
            tracker.add(widget);
            app.shell.add(widget, 'main');
          } else if (route) {
            widget.content.url = address(route);
          }
          app.shell.activateById(widget.id);
          return widget;
        },
      });
      restorer?.restore(tracker,
        {command: COMMAND, args: () => ({restored: true}), name: () => 'console'});
      const open = ({name}) => app.commands.execute(COMMAND, {route: name});
      const complain = ({name}, error) => apputils.showErrorMessage(`${name} goes on`, error);
      app.restored.then(async () => {
        // Where the server's part is not enabled, or is not for this person, there is nothing.
        if (!await routes.look().catch(() => true)) return;
        tiles?.add({command: COMMAND, category: 'Other', rank: 20});
        palette?.addItem({command: COMMAND, category: 'Other'});
        runs?.add(manager(routes, icon, open, complain));
        await routes.follow();
      });
    }

    const id = `${NAME}:bots`;
    const plugin = {
      id, description: TITLE, autoStart: true, optional: tokens.filter(Boolean), activate,
    };
    // Without the mark Lab takes the module itself for a plugin, and does not start.
    return () => ({__esModule: true, default: [plugin]});
  }

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB[NAME] = {
    init: (scope) => { shared = scope; },
    get: (module) => module === './extension'
      ? extension() : Promise.reject(new Error(`${NAME} has no ${module}`)),
  };
}
