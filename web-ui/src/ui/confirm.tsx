/** What cannot be taken back at once is asked a second time, in the place of the button. */
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Notice } from "./notice.tsx";
import { common } from "./texts.ts";

interface ConfirmProps {
  /** On the button. */
  children: string;
  /** Of the button, where its words alone do not say of what. */
  name?: string;
  danger?: boolean;
  busy?: boolean;
  question: string;
  hint?: ReactNode;
  confirm: string;
  onConfirm: () => void;
}

export function Confirm({
  children,
  name,
  danger = true,
  busy = false,
  question,
  hint,
  confirm,
  onConfirm,
}: ConfirmProps) {
  const [asked, setAsked] = useState(false);
  const cancel = useRef<HTMLButtonElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const wasAsked = useRef(false);
  // The keyboard stays where the question is, on the harmless answer, and comes back to where it was.
  useEffect(() => {
    if (asked) cancel.current?.focus();
    else if (wasAsked.current) opener.current?.focus();
    wasAsked.current = asked;
  }, [asked]);

  if (!asked) {
    return (
      <button
        ref={opener}
        type="button"
        className={danger ? "button button-danger" : "button"}
        aria-label={name}
        aria-disabled={busy}
        onClick={() => !busy && setAsked(true)}
      >
        {children}
      </button>
    );
  }
  return (
    <Notice tone="warn" role="alert" title={question}>
      {hint && <p>{hint}</p>}
      <div className="mt-3 flex flex-wrap gap-2">
        <button
          type="button"
          className="button button-danger"
          onClick={() => {
            setAsked(false);
            onConfirm();
          }}
        >
          {confirm}
        </button>
        <button ref={cancel} type="button" className="button" onClick={() => setAsked(false)}>
          {common.cancel}
        </button>
      </div>
    </Notice>
  );
}
