import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * With the directories above it. Node's own recursion asks for ever where the parent is there and
 * the kernel says ENOENT all the same, as it does in /proc. Throws the system's error.
 */
export async function makeDirectory(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeDirectory(dirname(path), mode);
    await mkdir(path, mode);
  }
}
