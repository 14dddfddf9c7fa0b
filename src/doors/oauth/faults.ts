/** Faults of the stores and of the key ring, in the form that oidc-provider has for its own errors. */
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { IssuerError } from '../../core/errors.ts';
import type { RecordStore } from '../../core/records.ts';

const WAITED_SECONDS = 1;

/** What it looks at is in lib/helpers/err_out.js and lib/shared/*error_handler.js. */
export class UnavailableError extends IssuerError {
  readonly error = 'temporarily_unavailable';
  readonly error_description: string;
  readonly expose = true;
  readonly status = 503;
  readonly statusCode = 503;
  /** RFC 6749 section 4.1.2.1 has this error for the authorization endpoint. */
  readonly allow_redirect = true;

  constructor({ detail, cause, retryAfterSeconds = WAITED_SECONDS }: IssuerError) {
    super('temporarily_unavailable', detail, { cause, retryAfterSeconds });
    this.message = this.error;
    this.error_description = this.sentence;
  }
}

/** Runs a call; a fault that passes is thrown as an UnavailableError, everything else as it is. */
export async function withFaultsNamed<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    const isPassing = error.code === 'temporarily_unavailable' || error.code === 'key_not_ready';
    throw isPassing ? new UnavailableError(error) : error;
  }
}

/** The same for every call of an object, such as a store. */
export function allFaultsNamed<T extends RecordStore>(inner: T): T {
  return new Proxy(inner, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name);
      if (typeof found !== 'function') return found;
      return (...given: unknown[]) => withFaultsNamed(async () => found.apply(target, given));
    },
  });
}

/** RFC 6749 has no status for it at the token endpoint: 503 (RFC 9110 section 15.6.4). */
export function answerFault(ctx: KoaContextWithOIDC, error: UnavailableError): void {
  sayWhen(ctx, error);
  ctx.status = error.status;
  ctx.body = { error: error.error, error_description: error.error_description };
}

function sayWhen(ctx: KoaContextWithOIDC, { retryAfterSeconds }: UnavailableError): void {
  ctx.set({ 'Retry-After': String(retryAfterSeconds), 'Cache-Control': 'no-store' });
}

const EVENTS = [
  ...['authorization', 'grant', 'userinfo', 'introspection', 'revocation', 'device_authorization'],
  ...['pushed_authorization_request', 'code_verification', 'device_resume', 'end_session'],
  ...['end_session_confirm', 'end_session_success'],
  ...['registration_create', 'registration_read', 'registration_update', 'registration_delete'],
].map((name) => `${name}.error`);

/** The caller is told when to come again, and the log what it was. */
export function watchFaults(provider: Provider, warn: (message: string) => void): void {
  const tell = (ctx: KoaContextWithOIDC, error: unknown) => {
    if (!(error instanceof UnavailableError)) return;
    sayWhen(ctx, error);
    warn(`OAuth: ${error.detail}`);
  };
  for (const name of EVENTS) provider.on(name as 'grant.error', tell as never);
}
