/**
 * What Fly's init does where AWS_ROLE_ARN is set (wire.md): a fresh token file for
 * AWS, and the variables that every process needs to use it.
 */
import { dirname, join, normalize } from 'node:path';
import { type Config, type LoadedConfig, type Problem, pathFaults } from '../config.ts';
import { compileAudiences } from '../core/audience.ts';
import { replaceFile } from '../doors/token-files.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const AUDIENCE = 'sts.amazonaws.com';
const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;
/** AWS's. */
const SESSION_NAME = /^[\w+=,.@-]{2,64}$/;
const CONTROL = /\p{Cc}/u;
const OWNER_KINDS = ['unix:user:', 'unix:uid:'];

/** `loaded` with what `awsToken` adds; throws ConfigError. */
export function withAwsToken(loaded: LoadedConfig, env: Environment): LoadedConfig {
  const { config, problems } = awsToken(loaded, env);
  if (problems.length > 0) throw loaded.reject(problems);
  return config === loaded.config ? loaded : { ...loaded, config };
}

/**
 * The configuration with a token file for AWS where the environment names a role
 * and the configuration has none; a problem where no rule says for whom. A variable that is empty says nothing.
 */
export function awsToken(
  { config, source }: Pick<LoadedConfig, 'config' | 'source'>,
  env: Environment,
): { readonly config: Config; readonly problems: readonly Problem[] } {
  if (!env.AWS_ROLE_ARN) return { config, problems: [] };
  const problems = [...faultsOfEnvironment(config, env)];
  if (config.tokens.some(({ audience }) => audience === AUDIENCE)) return { config, problems };
  const rule = config.rules.find(
    (each) => allowsAws(each, config.issuer) && ownerOf(each.match) !== undefined,
  );
  const owner = rule && ownerOf(rule.match);
  const path = env.AWS_WEB_IDENTITY_TOKEN_FILE || join(dirname(config.socket.path), 'oidc_token');
  if (!path.startsWith('/') || normalize(path) !== path)
    problems.push({
      path: 'tokens',
      message: 'AWS_WEB_IDENTITY_TOKEN_FILE is no absolute path in normal form',
    });
  if (rule === undefined || owner === undefined)
    problems.push({
      path: 'rules',
      message: `AWS_ROLE_ARN is set, and no rule for a unix:user or unix:uid allows ${AUDIENCE}`,
      hint: 'add one, or a token file below `tokens`',
    });
  if (rule === undefined || owner === undefined || problems.length > 0) return { config, problems };
  const entry = {
    path,
    audience: AUDIENCE,
    owner,
    group: undefined,
    mode: 0o400,
    rule: rule.name,
    principalTags: false,
  };
  const added = { ...config, tokens: [...config.tokens, entry] };
  for (const { message } of pathFaults(added, source))
    problems.push({ path: 'tokens', message: `AWS_WEB_IDENTITY_TOKEN_FILE ${message}` });
  return { config: problems.length > 0 ? config : added, problems };
}

/** What would stand in aws.env, each on a line of its own. */
function faultsOfEnvironment({ tokens }: Config, env: Environment): readonly Problem[] {
  const { AWS_ROLE_ARN: role = '', AWS_ROLE_SESSION_NAME: session } = env;
  const problems: Problem[] = [];
  if (!ROLE_ARN.test(role))
    problems.push({
      path: 'tokens',
      message: 'AWS_ROLE_ARN is no role',
      hint: 'such as arn:aws:iam::111122223333:role/web',
    });
  if (session && !SESSION_NAME.test(session))
    problems.push({
      path: 'tokens',
      message: 'AWS_ROLE_SESSION_NAME is not 2 to 64 characters of \\w+=,.@-',
    });
  const { path = '' } = tokens.find(({ audience }) => audience === AUDIENCE) ?? {};
  if (CONTROL.test(env.AWS_WEB_IDENTITY_TOKEN_FILE ?? '') || CONTROL.test(path))
    problems.push({ path: 'tokens', message: "the path of AWS's token file has a control character" });
  return problems;
}

/** A pattern that is wrong is told of where rules are compiled. */
function allowsAws(rule: Config['rules'][number], issuer: string): boolean {
  try {
    return compileAudiences(rule, issuer)([AUDIENCE]);
  } catch {
    return false;
  }
}

function ownerOf(match: readonly string[]): string | undefined {
  for (const kind of OWNER_KINDS) {
    const found = match.find((selector) => selector.startsWith(kind));
    if (found !== undefined) return found.slice(kind.length);
  }
  return undefined;
}

/** Writes `aws.env` beside the socket, for EnvironmentFile= and env_file; resolves to its path. */
export async function writeAwsEnvironment(
  { config }: LoadedConfig,
  env: Environment,
): Promise<string | undefined> {
  const token = config.tokens.find(({ audience }) => audience === AUDIENCE);
  if (!env.AWS_ROLE_ARN || token === undefined) return undefined;
  const path = join(dirname(config.socket.path), 'aws.env');
  const variables = {
    AWS_ROLE_ARN: env.AWS_ROLE_ARN,
    AWS_WEB_IDENTITY_TOKEN_FILE: token.path,
    AWS_ROLE_SESSION_NAME: env.AWS_ROLE_SESSION_NAME || sessionName(config.host),
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`);
  await replaceFile(path, lines.join(''), { mode: 0o644, uid: -1, gid: -1 });
  return path;
}

/** One that SESSION_NAME takes. */
function sessionName(host: string): string {
  return host
    .replace(/[^\w+=,.@-]/g, '-')
    .padEnd(2, '-')
    .slice(0, 64);
}
