/** What a command is, and what it is given of the process. */
export type Option = {
  readonly type: 'string' | 'boolean';
  readonly help: string;
  /** What stands for the value in the help, for example FILE. */
  readonly value?: string;
  readonly short?: string;
  readonly multiple?: true;
};

export type Command = {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the command's name. */
  readonly usage: string;
  readonly details?: string;
  readonly options: Readonly<Record<string, Option>>;
  /** Words that may follow, and how many more after each. */
  readonly words?: Readonly<Record<string, number>>;
  run(invocation: Invocation): Promise<number>;
};

/** The process as a command sees it: only main.ts and cli.ts touch the real one. */
export type Io = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly gid: number;
  /** All its group ids, the supplementary ones too. */
  readonly gids: readonly number[];
  readonly pid: number;
  readonly version: string;
  readonly nodeVersion: string;
  readonly isTerminal: boolean;
  write(text: string): void;
  writeError(text: string): void;
  readInput(): Promise<Buffer>;
  /** Somebody sits at standard input. */
  readonly canAsk: boolean;
  /** One typed line that is not shown. Throws CommandError where it is broken off. */
  askSecret(question: string): Promise<string>;
  /** Resolves once SIGTERM or SIGINT has come. */
  readonly stopped: Promise<void>;
  /** SIGHUP. */
  onReload(handler: () => void): void;
};

export type Invocation = {
  readonly io: Io;
  readonly values: Values;
  readonly words: readonly string[];
};

/** Exit codes that scripts can use. */
export const EXIT = {
  ok: 0,
  /** Refused, not ready, or failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** No issuer answers. */
  unreachable: 3,
} as const;

/** Ends the command with a sentence on stderr. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failed) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
  }
}

/** The options given, as node:util's parseArgs leaves them. */
export class Values {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? (value as string[]) : [];
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }
}

export const JSON_OPTION: Option = { type: 'boolean', help: 'Print JSON' };
