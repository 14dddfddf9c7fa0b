/** People of a test's issuer. */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

/** Asks the admin socket; the status that it answers. */
export function adminPost(socketPath: string, path: string, body: unknown): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json' };
    request({ socketPath, path, method: 'POST', headers }, async (response) => {
      await text(response);
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end(JSON.stringify(body));
  });
}
