/** The file system with a say before each call: what it throws, the call throws. */
import fs, { type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Files } from '../../src/stores/durable.ts';

/** For example ("sync", "ring.sealed.tmp"). Closing is never held up: a process that dies closes too. */
export type BeforeCall = (call: string, file: string) => void;

export function filesWith(before: BeforeCall): Files {
  const calling =
    (call: string, run: (...args: never[]) => Promise<unknown>) =>
    async (...args: never[]) => {
      before(call, basename(String(args[0])));
      const result = await run(...args);
      return call === 'open' ? watched(result as FileHandle, basename(String(args[0])), before) : result;
    };
  const names = ['open', 'lstat', 'mkdir', 'readdir', 'rename', 'unlink'] as const;
  return Object.fromEntries(
    names.map((name) => [name, calling(name, fs[name] as never)]),
  ) as unknown as Files;
}

function watched(handle: FileHandle, file: string, before: BeforeCall): FileHandle {
  return new Proxy(handle, {
    get(target, property) {
      const value = Reflect.get(target, property, target);
      if (typeof value !== 'function' || property === 'close') {
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (...args: unknown[]) => {
        before(String(property), file);
        return await value.apply(target, args);
      };
    },
  });
}

/** An error as the kernel gives it. */
export function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code, errno: -1 });
}
