/** What `mintmark serve` runs with no file: an issuer on loopback http, for the own user only. */
import { stringify } from 'yaml';
import { formatListen, isLoopback, parseListen } from './units.ts';

export type DevelopmentOptions = {
  readonly socketPath: string;
  /** `127.0.0.1:8080`; the port must be known, as it is in the issuer's URL. */
  readonly listen: string;
  readonly adminPath: string;
  /** Where keys outlive a restart; without it they are kept in memory. */
  readonly stateDirectory?: string | undefined;
  readonly uid: number;
  /** The user's name, where it is known. */
  readonly user?: string | undefined;
  /** The machine's name. */
  readonly host: string;
};

/** Soon enough to see a rotation happen; the development issuer's verifiers obey Cache-Control. */
const CACHE_FOR = '10s';

/** The configuration file that it stands for. */
export function developmentText(options: DevelopmentOptions): string {
  const { host, port } = addressOf(options.listen);
  const issuerHost = isLoopback(host) ? host : '127.0.0.1';
  const account = options.user === undefined ? '{unix.uid}' : '{unix.user}';
  return stringify({
    issuer: `http://${formatListen({ host: issuerHost, port })}`,
    host: options.host,
    socket: { path: options.socketPath, mode: '0600' },
    public: { listen: options.listen, cacheFor: CACHE_FOR },
    admin: { path: options.adminPath },
    keys: { store: options.stateDirectory === undefined ? 'memory' : { file: options.stateDirectory } },
    rules: [
      {
        name: 'development: everything this user runs',
        match: [`unix:uid:${options.uid}`],
        subject: `dev:${account}:{host}`,
        audiencePatterns: ['**'],
      },
    ],
  });
}

function addressOf(listen: string) {
  try {
    return parseListen(listen);
  } catch {
    return { host: '127.0.0.1', port: 0 };
  }
}
