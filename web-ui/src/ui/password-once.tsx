/** A name and password that were just made. They are shown once: the node keeps no copy of the password. */
import { Notice } from "./notice.tsx";
import { common } from "./texts.ts";

interface PasswordOnceProps {
  credentials: { username: string; password: string };
  /** The person has it: it goes from the screen. */
  onNoted: () => void;
}

export function PasswordOnce({ credentials, onNoted }: PasswordOnceProps) {
  return (
    <Notice tone="warn" title={common.passwordOnce}>
      <dl className="mt-2 grid gap-2">
        <div>
          <dt className="text-sm">{common.username}</dt>
          <dd className="font-mono">{credentials.username}</dd>
        </div>
        <div>
          <dt className="text-sm">{common.password}</dt>
          <dd className="font-mono">{credentials.password}</dd>
        </div>
      </dl>
      <button type="button" className="button mt-3" onClick={onNoted}>
        {common.passwordNoted}
      </button>
    </Notice>
  );
}
