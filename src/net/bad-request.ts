/** Answers to what is no proper HTTP request, so that no door ever sees it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ERROR_SENTENCES, type ErrorCode } from '../core/errors.ts';
import { errnoOf } from './kernel.ts';

/** RFC 9112 section 3.2: HTTP/1.1 has exactly one Host, HTTP/1.0 at most one. Node takes the first of several. */
export function hasOneHost({ rawHeaders, httpVersionMinor }: IncomingMessage): boolean {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2)
    if (rawHeaders[index]?.length === 4 && rawHeaders[index]?.toLowerCase() === 'host') hosts += 1;
  return hosts === 1 || (hosts === 0 && httpVersionMinor === 0);
}

const bodyOf = (error: ErrorCode): string =>
  JSON.stringify({ error, error_description: ERROR_SENTENCES[error] });

/** Answers and ends the connection. */
export function refuse(response: ServerResponse, status: number, code: ErrorCode): void {
  response.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
  response.end(bodyOf(code));
}

const STATUS_LINES: Readonly<Record<string, readonly [string, ErrorCode]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'invalid_request'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'request_timeout'],
};
const LINGER_MS = 1000;

/** Answers what Node's parser refused and destroys the connection, whether or not the other end reads. */
export function answerClientError(error: Error, socket: Socket, isAnswered: boolean): void {
  const code = errnoOf(error) ?? '';
  const isHttp = code.startsWith('HPE_') || code.startsWith('ERR_HTTP_');
  if (!isHttp || isAnswered || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, word] = STATUS_LINES[code] ?? ['400 Bad Request', 'invalid_request'];
  answerRaw(socket, status, word);
}

/** CONNECT comes with no response of Node's. */
export function refuseConnect(socket: Duplex): void {
  socket.on('error', () => undefined);
  answerRaw(socket, '405 Method Not Allowed', 'method_not_allowed');
}

function answerRaw(socket: Duplex, status: string, word: ErrorCode): void {
  const body = bodyOf(word);
  const head = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close`;
  socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`, () => socket.destroy());
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
