// Parse AsyncAPI documents with the reference parser: those named as arguments. Prints a JSON list with,
// for each, what is wrong with it, and the ids of its channels and operations.
import {readFileSync} from 'node:fs';
import {Parser} from '@asyncapi/parser';

const parser = new Parser();
const found = [];
for (const path of process.argv.slice(2)) {
  const {document, diagnostics} = await parser.parse(readFileSync(path, 'utf8'));
  found.push({
    errors: diagnostics.filter(({severity}) => severity === 0)
      .map(({message, path: where}) => `${where.join('.')}: ${message}`),
    channels: document?.channels().all().map((channel) => channel.id()) ?? [],
    operations: document?.operations().all().map((operation) => operation.id()) ?? [],
  });
}
console.log(JSON.stringify(found));
