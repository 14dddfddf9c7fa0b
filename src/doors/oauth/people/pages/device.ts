/** The pages where a code that a device shows is entered and confirmed (RFC 8628 section 3.3). */
import { html } from '../html.ts';
import type { Page } from '../page.ts';
import { type ClientName, clientName, field, hidden, problemBox } from './parts.ts';

type Form = { readonly action: string; readonly xsrf: string };

export type DeviceCodePage = Form & {
  readonly problem?: string | undefined;
  readonly userCode?: string | undefined;
  readonly isNumber: boolean;
};

export function deviceCodePage({ action, xsrf, problem, userCode, isNumber }: DeviceCodePage): Page {
  const isWrong = problem !== undefined;
  return {
    title: 'Connect a device',
    isWrong,
    body: html`<h1>Connect a device</h1>
<p class="lead">Enter the code that your device shows.</p>
${problemBox(problem)}
<form method="post" action="${action}">
${hidden('xsrf', xsrf)}
${field({
  id: 'user_code',
  label: 'Code',
  autocomplete: 'off',
  value: userCode,
  isCode: true,
  isNumber,
  isUpperCase: true,
  hasFocus: true,
  isWrong,
})}
<button type="submit">Continue</button>
</form>`,
  };
}

export type DeviceConfirmPage = Form & {
  readonly client: ClientName;
  /** As it was entered, and as the device shows it. */
  readonly userCode: string;
  readonly shownCode: string;
};

export function deviceConfirmPage({ action, xsrf, client, userCode, shownCode }: DeviceConfirmPage): Page {
  return {
    title: 'Is this your device?',
    body: html`<h1>Is this your device?</h1>
<p class="lead">${clientName(client)} would be connected to your account.</p>
<p>Go on only if a device of yours shows this code, and you started this yourself:</p>
<p class="show-code">${shownCode}</p>
<form method="post" action="${action}">
${hidden('xsrf', xsrf)}
${hidden('user_code', userCode)}
<button type="submit" name="confirm" value="yes">Continue</button>
<button type="submit" name="abort" value="yes" class="second">Cancel</button>
</form>`,
  };
}

export function deviceDonePage(client: ClientName | undefined): Page {
  return {
    title: 'Device connected',
    body: html`<h1>Device connected</h1>
<p>${client === undefined ? 'Your device' : clientName(client)} can go on now. You may close this page.</p>`,
  };
}
