/** What a failed call to the Kubernetes API means to a caller, and to the operator who reads the log. */
import { IssuerError } from '../core/errors.ts';

type ApiCall = { readonly verb: string; readonly resource: string; readonly namespace?: string };

const RETRY_SECONDS = 2;

/** `temporarily_unavailable` in every case: a fault is never a yes. A missing right says which it is. */
export function apiFault(error: unknown, { verb, resource, namespace }: ApiCall): IssuerError {
  // The library names the status of a call and of a watch differently.
  const { code: ofCall, statusCode: ofWatch } = error as { code?: unknown; statusCode?: unknown };
  const code = ofCall ?? ofWatch;
  const where = namespace === undefined ? '' : ` in the namespace ${namespace}`;
  const detail =
    code === 403
      ? `RBAC: our service account may not ${verb} ${resource}${where}; the chart's role grants it, and an API server that is just starting may not know it yet`
      : `the Kubernetes API failed to ${verb} ${resource}${where}: ${typeof code === 'number' ? code : describe(error)}`;
  return new IssuerError('temporarily_unavailable', detail, {
    cause: error,
    retryAfterSeconds: RETRY_SECONDS,
  });
}

/** The innermost cause says most: undici wraps it. */
function describe(error: unknown): string {
  const { cause, code, message } = error as NodeJS.ErrnoException & { readonly cause?: unknown };
  return cause instanceof Error ? describe(cause) : (code ?? message);
}
