/** A lean load generator: one process, prebuilt requests, keep-alive, one request in flight a connection. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export type Target = { readonly path: string } | { readonly host: string; readonly port: number };

export type LoadPlan = {
  readonly target: Target;
  /** A whole HTTP/1.1 request. */
  readonly request: Buffer;
  readonly connections: number;
  /** Ends after so many seconds, or so many answers. */
  readonly seconds?: number;
  readonly count?: number;
  /** Every answer must have other bytes than all before it at its end, or before this text: tokens do. */
  readonly distinct?: true | string;
};

export type LoadResult = {
  readonly answers: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Some of the bodies. */
  readonly samples: readonly string[];
};

const SAMPLE_EVERY = 1009;
const OK = Buffer.from('HTTP/1.1 200 OK\r\n');
const HEAD_END = Buffer.from('\r\n\r\n');
const LENGTH = Buffer.from('Content-Length: ');
const BUFFER_BYTES = 64 * 1024;

/** A request as curl would send it. */
export function buildRequest(
  method: 'GET' | 'POST',
  path: string,
  body = '',
  headers: readonly string[] = [],
): Buffer {
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost', 'User-Agent: bench', 'Accept: */*'];
  lines.push(...headers);
  if (method === 'POST')
    lines.push(
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Content-Type: application/x-www-form-urlencoded',
    );
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

/** Throws where an answer is no 200, or not a new one. */
export async function runLoad(plan: LoadPlan): Promise<LoadResult> {
  const run = new Run(plan);
  await run.done;
  return run.result();
}

class Run {
  readonly done: Promise<void>;
  readonly #plan: LoadPlan;
  readonly #startedAt: number;
  readonly #endsAt: number;
  #endedAt = 0;
  #asked = 0;
  readonly #millis: number[] = [];
  readonly #tails: number[] = [];
  readonly #samples: string[] = [];

  constructor(plan: LoadPlan) {
    this.#plan = plan;
    this.#startedAt = performance.now();
    this.#endsAt = this.#startedAt + (plan.seconds ?? Number.POSITIVE_INFINITY) * 1000;
    this.done = Promise.all(Array.from({ length: plan.connections }, () => this.#connection())).then(
      () => undefined,
    );
  }

  result(): LoadResult {
    const sorted = Float64Array.from(this.#millis).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    if (this.#plan.distinct !== undefined) assertDistinct(this.#tails);
    return {
      answers: sorted.length,
      perSecond: (sorted.length / (this.#endedAt - this.#startedAt)) * 1000,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      samples: this.#samples,
    };
  }

  #connection(): Promise<void> {
    return new Promise((resolve, reject) => {
      const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
      const kept = Buffer.allocUnsafe(BUFFER_BYTES);
      let held = 0;
      let askedAt = 0;
      const ask = () => {
        const now = performance.now();
        if (now >= this.#endsAt || this.#asked === this.#plan.count) {
          this.#endedAt = now;
          socket.destroy();
          resolve();
          return;
        }
        this.#asked++;
        askedAt = now;
        socket.write(this.#plan.request);
      };
      const take = (length: number, chunk: Buffer) => {
        let answer = chunk;
        if (held > 0) {
          chunk.copy(kept, held, 0, length);
          answer = kept;
        }
        held += length;
        if (isComplete(answer, held)) {
          this.#answered(answer, held, askedAt);
          held = 0;
          ask();
        } else if (answer === chunk) chunk.copy(kept, 0, 0, held);
      };
      const onData = (length: number, chunk: Uint8Array) => {
        try {
          take(length, chunk as Buffer);
        } catch (error) {
          socket.destroy();
          reject(error);
        }
        return true;
      };
      const socket: Socket = connect({ ...this.#plan.target, onread: { buffer, callback: onData } }, ask);
      socket.setNoDelay(true);
      socket.on('error', reject);
      socket.on('end', () => reject(new Error('the server closed a connection')));
    });
  }

  #endOf(answer: Buffer, length: number): number {
    const { distinct } = this.#plan;
    if (typeof distinct !== 'string') return length;
    const end = answer.indexOf(distinct);
    if (end === -1 || end > length) throw new Error(`an answer has no ${distinct}`);
    return end;
  }

  #answered(answer: Buffer, length: number, askedAt: number): void {
    this.#millis.push(performance.now() - askedAt);
    if (answer.compare(OK, 0, OK.length, 0, OK.length) !== 0)
      throw new Error(`an answer is no 200: ${answer.toString('latin1', 0, length)}`);
    if (this.#plan.distinct !== undefined)
      this.#tails.push(answer.readDoubleLE(this.#endOf(answer, length) - 8));
    if (this.#millis.length % SAMPLE_EVERY === 1)
      this.#samples.push(answer.toString('latin1', answer.indexOf(HEAD_END) + HEAD_END.length, length));
  }
}

function isComplete(answer: Buffer, length: number): boolean {
  const headEnd = answer.indexOf(HEAD_END);
  if (headEnd === -1 || headEnd > length) return false;
  const at = answer.indexOf(LENGTH);
  if (at === -1 || at > headEnd) throw new Error('an answer has no Content-Length');
  let bytes = 0;
  for (let index = at + LENGTH.length; answer[index] !== 13; index++)
    bytes = bytes * 10 + (answer[index] ?? 0) - 48;
  return length >= headEnd + HEAD_END.length + bytes;
}

function assertDistinct(tails: readonly number[]): void {
  const sorted = Float64Array.from(tails).sort();
  for (let index = 1; index < sorted.length; index++)
    if (sorted[index] === sorted[index - 1]) throw new Error('an answer was given twice');
}

/** One request on a connection of its own; the body. Throws where the answer is no 200, or nobody listens. */
export async function ask(target: Target, request: Buffer): Promise<string> {
  const socket = connect(target);
  await once(socket, 'connect');
  socket.write(request);
  let answer = Buffer.alloc(0);
  for await (const chunk of socket) {
    answer = Buffer.concat([answer, chunk as Buffer]);
    if (isComplete(answer, answer.length)) break;
  }
  const text = answer.toString('latin1');
  if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(`no 200: ${text}`);
  return text.slice(text.indexOf('\r\n\r\n') + 4);
}
