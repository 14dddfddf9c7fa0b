import { ADMIN_OPTION, adminSocket, askJson, printable, SOCKET_OPTION, workloadSocket } from './ask.ts';
import { type Command, CommandError, EXIT, JSON_OPTION } from './command.ts';

export type Near = {
  readonly rule: string;
  readonly holds: readonly string[];
  readonly fails: readonly { readonly selector: string; readonly instead: string }[];
  readonly allowsAudience: boolean;
};

type Explanation = {
  readonly allowed: boolean;
  readonly pid?: number;
  readonly caller: {
    readonly facts: Readonly<Record<string, string>>;
    readonly selectors: readonly string[];
    readonly unproven: Readonly<Record<string, string>>;
  };
  readonly rule?: string;
  readonly subject?: string;
  readonly ttlSeconds?: number;
  readonly algorithm?: string;
  readonly reason?: string;
  readonly nearest?: readonly Near[];
};

export const command: Command = {
  summary: 'Why a process gets a token or not: its attested facts and the nearest rules',
  usage: '--aud AUDIENCE [--pid PID] [--json]',
  details: 'With --pid, asks the admin socket about any process. Without, asks about this very call.',
  options: {
    aud: { type: 'string', value: 'AUDIENCE', help: 'The audience that the process would ask for' },
    pid: { type: 'string', value: 'PID', help: 'The process to explain (needs the admin socket)' },
    json: JSON_OPTION,
    socket: SOCKET_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const { io, values } = invocation;
    const aud = values.text('aud');
    if (aud === undefined) throw new CommandError('mintmark explain needs --aud AUDIENCE', EXIT.usage);
    const pid = parsePid(values.text('pid'));
    const socket = pid === undefined ? workloadSocket(invocation) : adminSocket(invocation);
    const fields = pid === undefined ? { aud } : { aud, pid };
    const explanation = await askJson<Explanation>(socket, { path: '/v1/explain', fields }, 'caller');
    if (values.flag('json')) io.write(`${JSON.stringify(explanation, null, 2)}\n`);
    else io.write(format(explanation, aud));
    return explanation.allowed ? EXIT.ok : EXIT.failed;
  },
};

function parsePid(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9][0-9]{0,9}$/.test(text))
    throw new CommandError('--pid is a process id, as in --pid 4711', EXIT.usage);
  return Number(text);
}

function format(explanation: Explanation, aud: string): string {
  const lines = [['caller', describeCaller(explanation)]];
  if (explanation.allowed) {
    lines.push([
      'allowed',
      `${aud}${explanation.rule === undefined ? '' : `, by rule "${explanation.rule}"`}`,
    ]);
    lines.push(['subject', explanation.subject ?? '']);
    lines.push(['life', `${explanation.ttlSeconds} s, ${explanation.algorithm}`]);
  } else {
    lines.push(['refused', explanation.reason ?? '']);
    for (const [index, near] of (explanation.nearest ?? []).entries())
      lines.push([index === 0 ? 'nearest' : '', describeNear(near)]);
  }
  const unproven = Object.entries(explanation.caller.unproven).map(([kind, reason]) => `${kind} (${reason})`);
  if (unproven.length > 0) lines.push(['unproven', unproven.join(', ')]);
  return `${lines.map(([label = '', text = '']) => `${label.padEnd(9)}${printable(text)}`).join('\n')}\n`;
}

/** `pid 4711, uid 998 (web), /usr/bin/node, unit batch.service` */
function describeCaller({ pid, caller: { facts, selectors } }: Explanation): string {
  const user = facts['unix.user'];
  const known = [
    pid === undefined ? undefined : `pid ${pid}`,
    facts['unix.uid'] === undefined
      ? undefined
      : `uid ${facts['unix.uid']}${user === undefined ? '' : ` (${user})`}`,
    facts['unix.path'],
    facts['systemd.unit'] === undefined ? undefined : `unit ${facts['systemd.unit']}`,
    facts['docker.container-name'] === undefined ? undefined : `container ${facts['docker.container-name']}`,
  ].filter((part) => part !== undefined);
  return known.length === 0 ? selectors.join(' ') : known.join(', ');
}

/** `"web may use AWS": unix:user:web holds; systemd:unit:web.service does not (batch.service)` */
export function describeNear({ rule, holds, fails, allowsAudience }: Near): string {
  const parts = [
    ...holds.map((selector) => `${selector} holds`),
    ...fails.map(({ selector, instead }) => `${selector} does not (${instead})`),
    ...(allowsAudience ? [] : ['it does not allow this audience']),
  ];
  return `"${rule}": ${parts.join('; ')}`;
}
