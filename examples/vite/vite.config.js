import {defineConfig} from 'vite';

// Where the Jupyter server is, and the bot's address there.
const server = process.env.JUPYTER_URL ?? 'http://localhost:8888';
const path = '/pingbot/';
const {get} = await import(server.startsWith('https:') ? 'node:https' : 'node:http');

// Ask Jupyter for the page: whoever is not signed in is led to the login and back, as without Vite.
const ask = ({headers, url}) => new Promise((done) => {
  get(new URL(url, server), {headers}, (answer) => done(answer.resume())).on('error', () => done());
});

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
        bypass: async (request, response) => {
          const {headers, url} = request;
          const own = /^vite-/.test(headers['sec-websocket-protocol'] ?? '');
          const page = response && headers['sec-fetch-dest'] === 'document';
          const answer = page ? await ask(request) : undefined;
          const {location, 'set-cookie': cookies} = answer?.headers ?? {};
          if (cookies) response.setHeader('set-cookie', cookies);
          if (answer?.statusCode === 302) response.writeHead(302, {location}).end();
          return response || own ? url : undefined;
        },
      },
      // The helper, the tickets, the login and what that looks like.
      '^/(static|wshandler/api|api/me|login|logout)': {target: server},
    },
  },
}));
