/** What went wrong, in words, with the code that the one who runs this looks for. */
import { html } from '../html.ts';
import type { Page } from '../page.ts';

export type ErrorPage = {
  readonly title?: string;
  readonly text: string;
  /** OAuth's own words. */
  readonly code?: string | undefined;
  readonly description?: string | undefined;
  readonly links?: readonly { readonly href: string; readonly text: string }[];
};

export function errorPage({
  title = 'This did not work',
  text,
  code,
  description,
  links = [],
}: ErrorPage): Page {
  return {
    title,
    body: html`<h1>${title}</h1>
<p>${text}</p>
${
  code !== undefined &&
  html`<dl>
<dt>Error</dt><dd><code>${code}</code></dd>
${description !== undefined && html`<dt>Details</dt><dd><bdi>${description}</bdi></dd>`}
</dl>`
}
${links.map(
  (link, index) => html`<a class="button ${index > 0 && 'second'}" href="${link.href}">${link.text}</a>\n`,
)}`,
  };
}

export function expiredPage(): Page {
  return {
    title: 'This page has expired',
    body: html`<h1>This page has expired</h1>
<p>It was open for too long, was used already, or belongs to another browser. Go back to the application and
 sign in from there again.</p>`,
  };
}
