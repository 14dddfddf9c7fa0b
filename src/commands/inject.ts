import { readFile } from 'node:fs/promises';
import type { InjectionContext, InjectionSettings } from '../injection/settings.ts';
import { type Command, CommandError, EXIT, type Invocation, type Io, JSON_OPTION } from './command.ts';
import type { Change, Manifest } from './manifest.ts';

export const command: Command = {
  summary:
    'Add the sidecar to the pods of a Kubernetes manifest, as the webhook does, and print the manifest',
  usage: '-f FILE --image IMAGE --authority-url URL [--authority-ca FILE] [--all] [--json]',
  details: `For clusters without the webhook: mintmark inject -f web.yaml … | kubectl apply -f -
Takes Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob and List, in any number of
documents, and injects into those pods that have the label mintmark.io/inject: "true". Annotations on
the pod say which clouds it is for. Everything else is printed as it is.`,
  options: {
    file: {
      type: 'string',
      value: 'FILE',
      short: 'f',
      multiple: true,
      help: 'YAML or JSON; - is stdin (also -f)',
    },
    image: { type: 'string', value: 'IMAGE', help: "The sidecar's image" },
    'authority-url': { type: 'string', value: 'URL', help: 'Where the sidecar reaches the authority' },
    'authority-ca': {
      type: 'string',
      value: 'FILE',
      help: 'CA to verify it by, in PEM (mintmark ca prints it)',
    },
    audience: {
      type: 'string',
      value: 'AUDIENCE',
      help: "The audience of the sidecar's own token (mintmark)",
    },
    'image-pull-policy': { type: 'string', value: 'WHEN', help: 'Always, IfNotPresent or Never' },
    'status-listen': { type: 'string', value: 'ADDRESS', help: 'Its status pages (0.0.0.0:9464)' },
    requests: { type: 'string', value: 'QUANTITIES', help: 'Set aside for it (cpu=10m,memory=48Mi)' },
    limits: { type: 'string', value: 'QUANTITIES', help: 'What it may use (memory=96Mi)' },
    'reuse-floor': {
      type: 'string',
      value: 'DURATION',
      help: 'Life that a token given again has left (1m), or off',
    },
    'single-use': {
      type: 'string',
      value: 'AUDIENCE',
      multiple: true,
      help: 'An audience whose tokens are never given again',
    },
    all: { type: 'boolean', help: 'Without a look at the label, but for pods that decline with "false"' },
    json: { ...JSON_OPTION, help: 'Print JSON: the object, or a List of several' },
  },
  async run(invocation) {
    const { io, values } = invocation;
    const files = values.list('file');
    if (files.length === 0) throw new CommandError('mintmark inject needs -f FILE', EXIT.usage);
    const settings = await settingsOf(invocation);
    const context = { ca: await caOf(values.text('authority-ca')), version: io.version };
    const report: string[] = [];
    const change = await changeWith(settings, context, values.flag('all'), report);
    io.write(await injectFiles(files, io, change, values.flag('json')));
    const nothing =
      'nothing injected: no pod has the label mintmark.io/inject: "true" (--all takes every pod)';
    io.writeError(`${(report.length === 0 ? [nothing] : report).join('\n')}\n`);
    return EXIT.ok;
  },
};

/** Option → setting. */
const SETTINGS = {
  image: 'image',
  'authority-url': 'url',
  audience: 'audience',
  'image-pull-policy': 'imagePullPolicy',
  'status-listen': 'statusListen',
  requests: 'resources.requests',
  limits: 'resources.limits',
  'reuse-floor': 'reuseFloor',
  'single-use': 'singleUse',
} as const;

async function settingsOf({ values }: Invocation): Promise<InjectionSettings> {
  const [{ settings }, { safeParse }] = await Promise.all([
    import('../doors/webhook-settings.ts'),
    import('valibot'),
  ]);
  const given = givenOf(values);
  const result = safeParse(settings, given);
  if (result.success) return result.output;
  const problems = result.issues.map(({ path, message }) => {
    const keys = path?.map(({ key }) => String(key)) ?? [];
    const [name = '', part] = keys;
    const option = Object.entries(SETTINGS).find(([, at]) => at === name || at === `${name}.${part}`)?.[0];
    return given[name] === undefined
      ? `mintmark inject needs --${option}`
      : `--${option} ${[...keys.slice(2), message].join(' ')}`;
  });
  throw new CommandError(problems.join('\n'), EXIT.usage);
}

/** What was given, as the settings take it. */
function givenOf(values: Invocation['values']): Readonly<Record<string, unknown>> {
  const texts = (
    ['image', 'authority-url', 'audience', 'image-pull-policy', 'status-listen', 'reuse-floor'] as const
  )
    .map((option) => [SETTINGS[option], values.text(option)] as const)
    .filter(([, value]) => value !== undefined);
  const singleUse = values.list('single-use');
  const resources = (['requests', 'limits'] as const)
    .map((option) => [option, quantitiesOf(option, values.text(option))] as const)
    .filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(texts),
    ...(singleUse.length === 0 ? {} : { singleUse }),
    ...(resources.length === 0 ? {} : { resources: Object.fromEntries(resources) }),
  };
}

const QUANTITIES = ['cpu', 'memory'];

/** `cpu=10m,memory=48Mi`, as kubectl takes them. */
function quantitiesOf(
  option: string,
  text: string | undefined,
): Readonly<Record<string, string>> | undefined {
  if (text === undefined) return undefined;
  const pairs = text
    .split(',')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [name = '', ...value] = pair.split('=');
      if (!QUANTITIES.includes(name.trim()) || value.length === 0)
        throw new CommandError(
          `--${option} ${pair} is no quantity: write it as in --${option} cpu=10m,memory=48Mi`,
          EXIT.usage,
        );
      return [name.trim(), value.join('=').trim()] as const;
    });
  return Object.fromEntries(pairs);
}

async function caOf(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const pem = (await readNamed(file)).toString('utf8');
  if (!pem.includes('-----BEGIN CERTIFICATE-----'))
    throw new CommandError(`--authority-ca ${file} holds no certificate in PEM`, EXIT.usage);
  return pem;
}

async function readNamed(file: string): Promise<Buffer> {
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(`cannot read ${file}: ${error.code}`);
  });
}

/** What is done to each pod; the report gets a line for each that is injected. */
async function changeWith(
  settings: InjectionSettings,
  context: InjectionContext,
  isForAll: boolean,
  report: string[],
): Promise<Change> {
  const [{ injectPod }, { jsonPatch }, { parsePod }] = await Promise.all([
    import('../injection/inject.ts'),
    import('../injection/patch.ts'),
    import('../injection/pod.ts'),
  ]);
  return ({ owner, pod, wrongLabel, asks = isForAll }) => {
    if (wrongLabel !== undefined)
      throw new CommandError(
        `label mintmark.io/inject must be "true" or "false", in quotes, not ${JSON.stringify(wrongLabel)}`,
      );
    if (!asks) return [];
    const parsed = parsePod(pod);
    const operations = jsonPatch(parsed, injectPod(parsed, settings, context));
    report.push(operations.length === 0 ? `${owner}: injected already` : `${owner}: injected`);
    return operations;
  };
}

async function injectFiles(
  files: readonly string[],
  io: Io,
  change: Change,
  isJson: boolean,
): Promise<string> {
  const { parseManifest, changeManifest, formatManifest, valuesOf } = await import('./manifest.ts');
  const texts: string[] = [];
  const objects: unknown[] = [];
  for (const file of files) {
    const bytes = file === '-' ? await io.readInput() : await readNamed(file);
    const name = file === '-' ? 'stdin' : file;
    const manifest: Manifest = parseManifest(bytes.toString('utf8'), name);
    const changed = changeManifest(manifest, name, change);
    if (isJson) objects.push(...valuesOf(manifest, name));
    else texts.push(formatManifest(manifest, changed));
  }
  if (isJson) return `${JSON.stringify(objects.length === 1 ? objects[0] : listOf(objects), null, 2)}\n`;
  return texts.map((text, index) => (index === 0 || text.startsWith('---') ? text : `---\n${text}`)).join('');
}

function listOf(items: readonly unknown[]) {
  return { apiVersion: 'v1', kind: 'List', items };
}
