import { ADMIN_OPTION, adminSocket, ask, parseObject } from './ask.ts';
import { type Command, EXIT, JSON_OPTION } from './command.ts';

type Readiness = { readonly status: string; readonly reasons?: readonly string[] };

export const command: Command = {
  summary: 'Whether a token can be minted now: exit code 0, or 1 with the reasons, or 3 where nobody answers',
  usage: '[--json] [--admin PATH]',
  options: { json: JSON_OPTION, admin: ADMIN_OPTION },
  async run(invocation) {
    const { io, values } = invocation;
    const answer = await ask(adminSocket(invocation), { path: '/readyz' });
    const readiness = parseObject(answer) as Readiness;
    if (values.flag('json')) io.write(`${JSON.stringify(readiness)}\n`);
    else io.write(`${[readiness.status, ...(readiness.reasons ?? [])].join('\n  ')}\n`);
    return answer.status === 200 ? EXIT.ok : EXIT.failed;
  },
};
