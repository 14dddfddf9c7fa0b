import { ADMIN_OPTION, adminSocket, ask, parseAnswer } from './ask.ts';
import { type Command, EXIT } from './command.ts';

export const command: Command = {
  summary: 'Print the certificate of the CA that `tls: bootstrap` made',
  usage: '[--admin PATH]',
  details:
    'Give it to the verifiers of a private network: curl --cacert, NODE_EXTRA_CA_CERTS, a trust store.',
  options: { admin: ADMIN_OPTION },
  async run(invocation) {
    const answer = await ask(adminSocket(invocation), { path: '/v1/ca' });
    if (answer.status !== 200) parseAnswer(answer);
    invocation.io.write(answer.body.toString('utf8'));
    return EXIT.ok;
  },
};
