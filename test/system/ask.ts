/** HTTP over the server's sockets and ports, and what is read in a token. */
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** It came over a connection that was open already. */
  readonly isReused: boolean;
  /** The text as JSON. */
  json<T = Readonly<Record<string, unknown>>>(): T;
};

export type Question = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Default: a connection of its own. */
  readonly agent?: Agent;
  readonly ca?: string;
};

/** `where` is the path of a UNIX socket, or the origin of an address. */
export function ask(where: string, path: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body, agent, ca } = question;
  const isSocket = where.startsWith('/');
  const request = where.startsWith('https:') ? httpsRequest : httpRequest;
  const target = isSocket ? { socketPath: where, path } : new URL(path, where);
  const options = { method, headers, agent: agent ?? false, ...(ca && { ca }) };
  return new Promise((resolve, reject) => {
    const asked = isSocket ? request({ ...(target as object), ...options }) : request(target as URL, options);
    asked.on('error', reject);
    asked.on('response', async (response) => {
      const answer = await text(response).catch(reject);
      if (answer === undefined) return;
      const { statusCode = 0, headers: answered } = response;
      resolve({
        status: statusCode,
        headers: answered,
        text: answer,
        isReused: asked.reusedSocket,
        json: () => JSON.parse(answer),
      });
    });
    asked.end(body);
  });
}

export const TOKENS = '/v1/tokens/oidc';

/** Asks for a token as a program does. */
export function askToken(socket: string, fields: unknown, question: Question = {}): Promise<Answer> {
  return ask(socket, TOKENS, { method: 'POST', body: JSON.stringify(fields), ...question });
}

/** The token; throws the refusal. */
export async function mint(socket: string, fields: unknown): Promise<string> {
  const answer = await askToken(socket, fields);
  if (answer.status !== 200) throw new Error(`no token: ${answer.status} ${answer.text}`);
  return answer.text;
}

export type Decoded = {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>> & {
    readonly iat: number;
    readonly exp: number;
    readonly nbf: number;
  };
};

/** Verifies nothing. */
export function decode(token: string): Decoded {
  const [header, claims] = token
    .split('.', 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8')));
  return { header, claims };
}

/** One sample of /metrics, 0 where it is not there. */
export async function metric(status: string, sample: string): Promise<number> {
  const { text: all } = await ask(status, '/metrics');
  const line = all.split('\n').find((each) => each.startsWith(`${sample} `));
  return Number(line?.slice(sample.length + 1) ?? 0);
}
