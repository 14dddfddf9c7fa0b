/** For those who operate it: Prometheus' text format, liveness and readiness. */
import { answerJson, type Door, type Route, type Surface } from './door.ts';

export type StatusParts = {
  /** Prometheus' text exposition and its content type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  /** What keeps a token from being minted now; empty when ready. */
  readonly notReady: () => readonly string[];
};

export function open(parts: StatusParts, surface: Surface): Door {
  const metrics = route('/metrics', 'Metrics in the Prometheus text format', async (context) => {
    const { contentType, text } = await parts.metrics();
    context.set('Content-Type', contentType);
    context.body = text;
  });
  const live = route('/livez', 'The process answers', (context) => {
    answerJson(context, { status: 'ok' });
  });
  const ready = route('/readyz', 'A token can be minted', (context) => {
    const reasons = parts.notReady();
    context.status = reasons.length === 0 ? 200 : 503;
    answerJson(context, reasons.length === 0 ? { status: 'ok' } : { status: 'not ready', reasons });
  });
  return { name: 'status', surface, routes: [metrics, live, ready] };
}

function route(path: string, summary: string, answer: Route['handle']): Route {
  const handle: Route['handle'] = (context) => {
    context.set('Cache-Control', 'no-store');
    return answer(context);
  };
  const operation = {
    summary,
    responses: { 200: { description: summary }, 503: { description: 'Not ready' } },
  };
  return { method: 'GET', path, operation, handle };
}
