/** A browser without a screen: cookies, redirects and forms, as a person without JavaScript has them. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

export type Page = {
  readonly url: string;
  readonly status: number;
  readonly html: string;
  readonly headers: Headers;
};

export type Form = { readonly action: string; readonly fields: Readonly<Record<string, string>> };

export type Browser = {
  open(url: string): Promise<Page>;
  /** Fills in the page's form whose action ends so. */
  submit(page: Page, action: RegExp, fields?: Readonly<Record<string, string>>): Promise<Page>;
  /** By their path, a blank and their name. */
  readonly cookies: Map<string, string>;
};

type Answer = Omit<Page, 'url'>;

const REDIRECTS_MAX = 10;

type More = Readonly<Record<string, string>>;

/** Where the application would be: the address is not opened, as nobody listens there. `more` are headers of each request. */
export function openBrowser(application: string, more: More = {}): Browser {
  const cookies = new Map<string, string>();
  async function load(url: string, body?: URLSearchParams): Promise<Page> {
    let [at, form] = [url, body];
    for (let step = 0; step < REDIRECTS_MAX; step++) {
      const { status, headers, html } = await send(at, cookies, more, form);
      keep(headers.getSetCookie(), at);
      const location = headers.get('location');
      if (location === null) return { url: at, status, html, headers };
      [at, form] = [new URL(location, at).href, undefined];
      if (at.startsWith(application)) return { url: at, status, html: '', headers };
    }
    assert.fail(`too many redirects, the last to ${at}`);
  }
  function keep(lines: readonly string[], at: string): void {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split('; ');
      const [name = '', value = ''] = pair.split(/=(.*)/s);
      const isGone = value === '' || attributes.some((text) => /^expires=Thu, 01 Jan 1970/i.test(text));
      const path = attributes.find((text) => /^path=/i.test(text))?.slice('path='.length);
      const key = `${path ?? new URL('.', at).pathname} ${name}`;
      if (isGone) cookies.delete(key);
      else cookies.set(key, value);
    }
  }
  return {
    cookies,
    open: (url) => load(url),
    submit(page, action, fields = {}) {
      const form = formsOf(page).find((one) => action.test(one.action));
      assert.ok(form, `no form ${action} in ${page.status} ${page.url}: ${page.html}`);
      return load(form.action, new URLSearchParams({ ...form.fields, ...fields }));
    },
  };
}

/** As a browser does when somebody goes somewhere: fetch has a mind of its own about Sec-Fetch-Mode. */
function send(
  url: string,
  cookies: ReadonlyMap<string, string>,
  more: More,
  form?: URLSearchParams,
): Promise<Answer> {
  const headers = {
    ...more,
    Accept: 'text/html,*/*;q=0.8',
    'Sec-Fetch-Mode': 'navigate',
    'Sec-Fetch-Dest': 'document',
    Cookie: cookiesFor(url, cookies),
    ...(form === undefined
      ? {}
      : {
          Origin: new URL(url).origin,
          'Sec-Fetch-Site': 'same-origin',
          'Content-Type': 'application/x-www-form-urlencoded',
        }),
  };
  return new Promise((resolve, reject) => {
    request(url, { method: form === undefined ? 'GET' : 'POST', headers }, async (response) => {
      const pairs = Object.entries(response.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value): [string, string] => [name, value]),
      );
      resolve({
        status: response.statusCode ?? 0,
        headers: new Headers(pairs),
        html: await text(response),
      });
    })
      .on('error', reject)
      .end(form?.toString());
  });
}

/** RFC 6265 section 5.1.4. */
function cookiesFor(url: string, cookies: ReadonlyMap<string, string>): string {
  const { pathname } = new URL(url);
  return [...cookies]
    .map(([key, value]) => [...key.split(' '), value])
    .filter(([path = '']) => pathname === path || pathname.startsWith(path.replace(/\/?$/, '/')))
    .map(([, name, value]) => `${name}=${value}`)
    .join('; ');
}

export function formsOf({ html, url }: Page): readonly Form[] {
  return [...html.matchAll(/<form[^>]*action="([^"]*)"[^>]*>(.*?)<\/form>/gs)].map(
    ([, action = '', inner = '']) => ({
      action: new URL(unescapeHtml(action), url).href,
      fields: Object.fromEntries(
        [...inner.matchAll(/<input[^>]*>/g)].flatMap(([input]) => {
          const name = attribute(input, 'name');
          const value = attribute(input, 'value');
          return name === undefined || value === undefined ? [] : [[name, value]];
        }),
      ),
    }),
  );
}

function attribute(tag: string, name: string): string | undefined {
  const found = new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1];
  return found === undefined ? undefined : unescapeHtml(found);
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  quot: '"',
  lt: '<',
  gt: '>',
  '#39': "'",
  '#x27': "'",
};

function unescapeHtml(text: string): string {
  return text.replace(/&(amp|quot|lt|gt|#39|#x27);/g, (_, name: string) => ENTITIES[name] ?? '');
}
