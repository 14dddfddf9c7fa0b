/** The frame of every page, and the headers that it is sent with. */
import { createHash } from 'node:crypto';
import type { Context } from 'koa';
import { type Html, type HtmlValue, html } from './html.ts';
import { STYLE } from './style.ts';

export type Page = {
  readonly title: string;
  readonly body: HtmlValue;
  /** The form on it was filled in wrongly: said in the title, which is what a screen reader reads first. */
  readonly isWrong?: boolean;
  /** Where its forms' answers may lead, beside here. */
  readonly formAction?: readonly string[];
};

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

export function sendPage(context: Context, brand: string, page: Page, status?: number): void {
  if (status !== undefined) context.status = status;
  context.set('Content-Security-Policy', contentSecurityPolicy(page.formAction ?? []));
  context.set('Referrer-Policy', 'no-referrer');
  context.set('X-Content-Type-Options', 'nosniff');
  context.set('X-Frame-Options', 'DENY');
  context.set('Cache-Control', 'no-store');
  context.type = 'html';
  context.body = `<!DOCTYPE html>\n${frame(brand, page)}`;
}

function frame(brand: string, { title, body, isWrong }: Page): Html {
  return html`<html lang="en">
<head>
<meta charset="utf-8">
<title>${isWrong === true ? 'Error: ' : ''}${title} – ${brand}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<style>${STYLESHEET}</style>
</head>
<body>
<main>
<p class="brand">${brand}</p>
${body}
</main>
</body>
</html>
`;
}

/** The stylesheet as it stands: its quotes are no HTML. */
const STYLESHEET = html([STYLE] as unknown as TemplateStringsArray);

/** Chromium holds every hop of the redirects behind a form to form-action, and tells nobody where it stops. */
function contentSecurityPolicy(formAction: readonly string[]): string {
  return [
    "default-src 'none'",
    `style-src 'sha256-${STYLE_HASH}'`,
    'img-src data:',
    `form-action ${["'self'", ...formAction].join(' ')}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/**
 * What lets a browser go back to the client behind a form (seen in Chromium 156): for an https address
 * every https address, since the client's page may lead on to another origin in the same chain; for a
 * loopback client its host, and https for the page that it ends with; for an app its scheme.
 */
export function sourcesOf(uri: string | undefined): readonly string[] {
  const url = uri === undefined ? null : URL.parse(uri);
  if (url === null || !/^[a-z][a-z0-9+.-]*:$/.test(url.protocol)) return [];
  if (url.protocol === 'https:') return ['https:'];
  if (url.protocol !== 'http:') return [url.protocol];
  // CSP3 has no way to write an IPv6 address (section 2.3.1).
  return url.hostname.startsWith('[') ? ['http:'] : [`http://${url.hostname}:*`, 'https:'];
}
