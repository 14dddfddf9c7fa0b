/** The pages that oidc-provider asks for itself: device codes, logout, errors. */
import type { ErrorOut, KoaContextWithOIDC } from 'oidc-provider';
import type { People } from './contract.ts';
import { givenUserCode } from './library-pages.ts';
import { type Page, sendPage, sourcesOf } from './page.ts';
import { deviceCodePage, deviceConfirmPage, deviceDonePage } from './pages/device.ts';
import { errorPage, expiredPage } from './pages/error.ts';
import { loggedOutPage, logoutPage } from './pages/logout.ts';
import { nameOf } from './visit.ts';

type Sources = Pick<People, 'deviceFlow' | 'rpInitiatedLogout' | 'renderError'>;

/** The library makes a form of its own, with a script and without labels: ours has its address and token. */
export function createSources(brand: string): Sources {
  const send = (context: KoaContextWithOIDC, page: Page) => sendPage(context, brand, page);
  return {
    deviceFlow: {
      userCodeInputSource: (context, form, out, error) => {
        if (error?.name === 'SessionNotFound') return send(context, expiredPage());
        const isNumber = form.includes('inputmode="numeric"');
        const { userCode = givenUserCode(context) } = Object(error) as { readonly userCode?: string };
        send(
          context,
          deviceCodePage({
            ...formOf(context, 'code_verification'),
            isNumber,
            userCode,
            problem: problemOf(out, error),
          }),
        );
      },
      userCodeConfirmSource: (context, _form, client, _deviceInfo, shownCode) => {
        const userCode = String(context.oidc.params?.user_code ?? '');
        const form = formOf(context, 'code_verification');
        send(context, deviceConfirmPage({ ...form, client: nameOf(client), userCode, shownCode }));
      },
      successSource: (context) => send(context, deviceDonePage(clientOf(context))),
    },
    rpInitiatedLogout: {
      logoutSource: (context) => {
        const formAction = sourcesOf(context.oidc.params?.post_logout_redirect_uri as string | undefined);
        const form = formOf(context, 'end_session_confirm');
        send(context, logoutPage({ ...form, client: clientOf(context), formAction }));
      },
      postLogoutSuccessSource: (context) => send(context, loggedOutPage(clientOf(context))),
    },
    renderError: (context, out, error) => send(context, pageOf(out, error)),
  };
}

function formOf(
  { oidc }: KoaContextWithOIDC,
  route: string,
): { readonly action: string; readonly xsrf: string } {
  const { secret } = (oidc.session?.state ?? {}) as { readonly secret?: string };
  return { action: new URL(oidc.urlFor(route)).pathname, xsrf: secret ?? '' };
}

function clientOf({ oidc }: KoaContextWithOIDC): { readonly name: string } | undefined {
  return oidc.client === undefined ? undefined : nameOf(oidc.client);
}

const DEVICE_PROBLEMS: Readonly<Record<string, string>> = {
  NoCodeError: 'Enter the code first.',
  NotFoundError: 'This code is not right. Look at your device again.',
  ExpiredError: 'This code has expired. Ask your device for a new one.',
  AlreadyUsedError: 'This code was used already. Ask your device for a new one.',
  AbortedError: 'You cancelled. The device was not connected.',
};

function problemOf(out: ErrorOut | undefined, error: Error | undefined): string | undefined {
  if (error === undefined) return undefined;
  return DEVICE_PROBLEMS[error.name] ?? out?.error_description ?? 'This did not work. Try again.';
}

function pageOf(out: ErrorOut, error: Error): Page {
  if (error.name === 'SessionNotFound') return expiredPage();
  const isOurs = out.error === 'server_error' || out.error === 'temporarily_unavailable';
  const text = isOurs
    ? 'The server could not do this. Try again in a moment.'
    : 'The application that sent you here asked for something that cannot be done. Go back to it and try again, or tell the people who run it.';
  return errorPage({ text, code: out.error, description: isOurs ? undefined : out.error_description });
}
