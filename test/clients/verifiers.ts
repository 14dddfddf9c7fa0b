/** Three verifiers that share no code with each other or with us, each by discovery and JWKS. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { goVerifier, pythonPrograms, pythonVerifier } from './cache.ts';

/** What a relying party is set up with, and the token that it was sent. */
export type Question = { readonly issuer: string; readonly audience: string; readonly token: string };

/** Whom it took the caller for, or why it did not. */
export type Verdict = { readonly subject: string } | { readonly refusal: string };

export type Verifier = {
  /** The program that must be there, where one must. */
  readonly needs?: string;
  verify(questions: readonly Question[]): Promise<readonly Verdict[]>;
};

export const verifiers: Readonly<Record<string, Verifier>> = {
  'jose (Node)': { verify: (questions) => Promise.all(questions.map(verifyWithJose)) },
  'go-oidc (Go)': { needs: 'go', verify: (questions) => askProgram(goVerifier(), [], questions) },
  'PyJWT (Python)': {
    needs: 'python3',
    verify: (questions) =>
      askProgram(join(pythonPrograms('requirements.txt'), 'python'), [pythonVerifier], questions),
  },
};

async function verifyWithJose({ issuer, audience, token }: Question): Promise<Verdict> {
  const answer = await fetch(`${issuer}/.well-known/openid-configuration`);
  const metadata = (await answer.json()) as {
    jwks_uri: string;
    id_token_signing_alg_values_supported: string[];
  };
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
  const algorithms = metadata.id_token_signing_alg_values_supported;
  try {
    const { payload } = await jwtVerify(token, keys, { issuer, audience, algorithms, typ: 'JWT' });
    return { subject: payload.sub ?? '' };
  } catch (error) {
    return { refusal: (error as Error).message };
  }
}

/** One line of JSON in and one out for each question. */
async function askProgram(
  program: string,
  args: readonly string[],
  questions: readonly Question[],
): Promise<readonly Verdict[]> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(questions.map((question) => `${JSON.stringify(question)}\n`).join(''));
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (code !== 0) throw new Error(`${program} has ended with ${code}`);
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Verdict);
}
