/** StartDeviceAuthorization: RFC 8628 section 3.1 for the scopes of the registration. */
import type { Context } from 'koa';
import { exceptionOf } from './exceptions.ts';
import { readMembers } from './fields.ts';
import type { Parts } from './parts.ts';

export async function startDeviceAuthorization(context: Context, { oauth }: Parts): Promise<void> {
  const { members } = await readMembers(context);
  const form = new URLSearchParams({
    client_id: members.required('clientId'),
    client_secret: members.required('clientSecret'),
  });
  members.required('startUrl'); // whatever it says: nobody fetches it
  const { status, body } = await oauth.call({
    path: `${oauth.path}/deviceauthorization`,
    form,
    request: context.req,
  });
  if (status !== 200) throw exceptionOf(status, body);
  context.set('Cache-Control', 'no-store');
  context.body = {
    deviceCode: body.device_code,
    userCode: body.user_code,
    verificationUri: body.verification_uri,
    verificationUriComplete: body.verification_uri_complete,
    expiresIn: body.expires_in,
    interval: body.interval,
  };
}
