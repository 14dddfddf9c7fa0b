import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../doors/token-files.ts';
import { ADMIN_OPTION, adminSocket, askJson, ISSUER_OPTION, ofIssuer } from './ask.ts';
import { type Command, EXIT, JSON_OPTION } from './command.ts';
import { makeDirectory } from './make-directory.ts';

type Documents = { readonly metadata: { readonly issuer: string }; readonly jwks: unknown };

export const command: Command = {
  summary: 'Print the JWKS, to upload it where the issuer cannot be reached',
  usage: '[--metadata] [--out DIR] [--issuer NAME] [--admin PATH]',
  details: `For relying parties that take the keys as a file (Google Cloud's --jwk-json-path, OpenAI,
Anthropic), and with --out for a web server or a bucket that publishes them. Upload again
whenever a key was added: it then signs no earlier than keys.publishAtLeast later.`,
  options: {
    metadata: { type: 'boolean', help: 'Print the issuer metadata (openid-configuration) instead' },
    out: { type: 'string', value: 'DIR', help: 'Write both below DIR/.well-known' },
    json: { ...JSON_OPTION, help: 'Print both documents as one JSON object' },
    issuer: ISSUER_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const { io, values } = invocation;
    const question = ofIssuer(invocation, { path: '/v1/documents' });
    const documents = await askJson<Documents>(adminSocket(invocation), question, 'jwks');
    const directory = values.text('out');
    if (directory !== undefined) {
      io.writeError(await writeDocuments(documents, directory));
      return EXIT.ok;
    }
    const chosen = values.flag('json')
      ? documents
      : values.flag('metadata')
        ? documents.metadata
        : documents.jwks;
    io.write(`${JSON.stringify(chosen, null, 2)}\n`);
    return EXIT.ok;
  },
};

async function writeDocuments({ metadata, jwks }: Documents, directory: string): Promise<string> {
  const wellKnown = join(directory, '.well-known');
  await makeDirectory(wellKnown);
  const files = {
    'openid-configuration': metadata,
    'oauth-authorization-server': metadata,
    jwks,
    'jwks.json': jwks,
  };
  for (const [name, document] of Object.entries(files))
    await replaceFile(join(await realpath(wellKnown), name), JSON.stringify(document), {
      mode: 0o644,
      uid: -1,
      gid: -1,
    });
  return `${Object.keys(files).length} documents for ${metadata.issuer} written to ${wellKnown}\n`;
}
