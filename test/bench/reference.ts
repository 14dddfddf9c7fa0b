/**
 * What the server is measured beside, as a program: `reference.ts koa SOCKET` gives
 * `POST /SIZE` an answer of that many bytes by a bare Koa, and `POST /RS256` or `/ES256`
 * a fresh signature; `reference.ts http PORT FILE` gives every GET the file's bytes by a
 * bare node:http. Prints a line when it listens.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Koa from 'koa';
import { ALGORITHMS, createSigner } from './raw-signatures.ts';

const [kind, where = '', file = ''] = process.argv.slice(2);
const ready = () => console.log('ready');

if (kind === 'koa') {
  const app = new Koa();
  const answers = new Map<string, string>();
  const signers = new Map(ALGORITHMS.map((algorithm) => [`/${algorithm}`, createSigner(algorithm)]));
  app.use(async (context) => {
    const sign = signers.get(context.path);
    if (sign !== undefined) {
      context.body = (await sign()).toString('base64url');
      return;
    }
    let answer = answers.get(context.path);
    if (answer === undefined) {
      answer = 'x'.repeat(Number(context.path.slice(1)));
      answers.set(context.path, answer);
    }
    context.body = answer;
  });
  createServer(app.callback()).listen(where, ready);
} else {
  const body = readFileSync(file);
  const headers = { 'Content-Type': 'application/jwk-set+json', 'Content-Length': body.length };
  createServer((_request, response) => response.writeHead(200, headers).end(body)).listen(
    Number(where),
    '127.0.0.1',
    ready,
  );
}
