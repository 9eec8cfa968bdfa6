import {defineConfig} from 'vite';

// Where the Jupyter server is, and the bot's address there.
const server = process.env.JUPYTER_URL ?? 'http://localhost:8888';
const path = '/pingbot/';

export default defineConfig(({command}) => ({
  // Built, the page finds its files wherever the server is; worked on, it has the bot's address.
  base: command === 'build' ? './' : path,
  server: {
    // The name by which Jupyter is opened too: cookies are kept by name, for all ports.
    host: 'localhost',
    proxy: {
      // At the bot's address the page is Vite's and the socket the bot's, but for Vite's own.
      [path]: {
        target: server,
        ws: true,
        bypass: ({headers, url}, response) => {
          const own = /^vite-/.test(headers['sec-websocket-protocol'] ?? '');
          return response || own ? url : undefined;
        },
      },
      // The helper, the tickets, the login and what that looks like.
      '^/(static|wshandler/api|api/me|login|logout)': {target: server},
    },
  },
}));
