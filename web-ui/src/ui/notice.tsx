/** Messages: failures with what to do next, and states worth a colour. */
import type { ReactNode } from "react";
import { advice, common } from "./texts.ts";

type Tone = "bad" | "warn" | "ok" | "info";

const tones: Record<Tone, string> = {
  bad: "border-bad bg-bad-soft text-ink",
  warn: "border-warn bg-warn-soft text-ink",
  ok: "border-ok bg-ok-soft text-ink",
  info: "border-accent bg-accent-soft text-ink",
};

interface NoticeProps {
  tone: Tone;
  title?: ReactNode;
  children?: ReactNode;
  /** alert interrupts a screen reader; status waits. */
  role?: "alert" | "status";
}

export function Notice({ tone, title, children, role }: NoticeProps) {
  return (
    <div role={role} className={`rounded-lg border-l-8 border p-3 ${tones[tone]}`}>
      {title && <p className="font-bold">{title}</p>}
      {children}
    </div>
  );
}

export function ErrorNotice({ error, onRetry, action }: { error: unknown; onRetry?: () => void; action?: ReactNode }) {
  const { what, next } = advice(error);
  return (
    <Notice tone="bad" role="alert" title={what}>
      <p>{next}</p>
      {(onRetry || action) && (
        <div className="mt-3 flex flex-wrap gap-2">
          {onRetry && (
            <button type="button" className="button" onClick={onRetry}>
              {common.tryAgain}
            </button>
          )}
          {action}
        </div>
      )}
    </Notice>
  );
}
