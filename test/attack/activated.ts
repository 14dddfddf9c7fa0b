/** A server on the sockets that systemd hands over, as a program. */
import { inheritedSockets } from '../../src/net/activation.ts';
import { peerOf } from '../../src/net/connections.ts';
import { listen } from '../../src/net/listen.ts';

const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env;
const [socket] = inheritedSockets({ LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES });
if (socket === undefined) console.log('serving nothing');
else {
  const listener = await listen({
    target: { fd: socket.fd },
    handler: (request, response) => {
      const text = `hello ${peerOf(request.socket).pid}`;
      response.writeHead(200, { 'Content-Length': text.length }).end(text);
    },
  });
  console.log(`serving ${socket.name} ${listener.address}`);
  process.stdin.on('end', () => listener.close(0).then(() => process.exit(0))).resume();
}
