#!/usr/bin/env bash
# npm 11.19.1: `npm ci` refuses the lock file that the same npm wrote a moment ago.
#
# Guess:  a package has an optional dependency that is not to be had. `npm install` leaves it out
#         and writes a lock file, and `npm ci` installs what that file says, as it is made to.
# Seen:   `npm install` ends well, the second time as well, and says nothing. `npm ci` ends with
#         EUSAGE: "Missing: not-to-be-had@ from lock file", and asks to write the lock file with
#         `npm install`, which changes nothing. `--omit=optional` does not help.
# Why:    an institute's mirror does not have every package; vite 8.4.0 and others name optional
#         ones for each system. The page of a bot is built by hand there without a word, and in CI
#         or a container, where it is `npm ci`, not at all, with the same two files.
# How:    the registry here is a few lines on loopback that have one package and answer 404 to the
#         rest; only npm itself is installed from outside. npm 12.2.2 did the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" npm@11.19.1 >/dev/null
mkdir app package
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const manifest = {
  name: 'with-optional',
  version: '1.0.0',
  optionalDependencies: { 'not-to-be-had': '^1.0.0' },
};
writeFileSync('package/package.json', JSON.stringify(manifest));
execFileSync('tar', ['-czf', 'package.tgz', 'package']);
const tarball = readFileSync('package.tgz');
const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;

const server = createServer((request, response) => {
  if (request.url === '/package.tgz') {
    response.end(tarball);
  } else if (request.url === '/with-optional') {
    const dist = { integrity, tarball: `${registry}package.tgz` };
    response.end(JSON.stringify({
      name: manifest.name,
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { ...manifest, dist } },
    }));
  } else {
    response.writeHead(404).end('{}');
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const registry = `http://127.0.0.1:${server.address().port}/`;

async function npm(...words) {
  const child = spawn('../node_modules/.bin/npm', [
    ...words, '--no-audit', '--no-fund', '--cache', '../cache', '--registry', registry,
  ], { cwd: 'app', timeout: 30000, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (data) => { errors += data; });
  const [status] = await once(child, 'close');
  if (status === 0) return 'fine';
  const missing = errors.includes('EUSAGE') && errors.includes('Missing: not-to-be-had@');
  return missing ? 'missing' : errors;
}

writeFileSync('app/package.json', JSON.stringify({
  name: 'app', version: '1.0.0', dependencies: { 'with-optional': '1.0.0' },
}));
const seen = [];
for (const words of [['install'], ['ci'], ['install'], ['ci'], ['ci', '--omit=optional']]) {
  seen.push(`${words.join(' ')}: ${await npm(...words)}`);
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, [
  'install: fine', 'ci: missing', 'install: fine', 'ci: missing', 'ci --omit=optional: missing',
], 'npm behaves differently now');
process.exit(0);
JS
timeout 90 node main.mjs
