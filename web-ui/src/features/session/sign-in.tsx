/** The sign-in form: a page of its own, or a dialog above work that must not be lost. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError } from "../../api/client.ts";
import { TextField } from "../../ui/field.tsx";
import { Notice } from "../../ui/notice.tsx";
import { signIn } from "./session.ts";
import { texts } from "./texts.ts";

function SignInForm({ username: initial = "" }: { username?: string }) {
  const client = useQueryClient();
  const [username, setUsername] = useState(initial);
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  const submit = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await signIn(client, username.trim(), password);
    } catch (error) {
      const wrong = error instanceof ApiError && [400, 401, 403, 422].includes(error.status);
      setProblem(wrong ? texts.wrong : error instanceof ApiError ? error.message : texts.silent);
      setBusy(false);
    }
  };

  return (
    <form
      className="grid gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        if (!busy) void submit();
      }}
    >
      {problem && <Notice tone="bad" role="alert" title={problem} />}
      <TextField label={texts.username} value={username} onChange={setUsername} autoComplete="username" required />
      <TextField
        label={texts.password}
        type="password"
        value={password}
        onChange={setPassword}
        autoComplete="current-password"
        required
      />
      <button type="submit" className="button button-primary" aria-disabled={busy}>
        {busy ? texts.submitting : texts.submit}
      </button>
    </form>
  );
}

export function SignInPage() {
  return (
    <main className="mx-auto grid min-h-dvh max-w-md content-center gap-4 p-4">
      <div className="card p-6">
        <p className="text-3xl font-bold text-accent">{texts.product}</p>
        <p className="mt-1 mb-5 text-ink-soft">{texts.lead}</p>
        <h1 className="mb-3">{texts.title}</h1>
        <SignInForm />
      </div>
    </main>
  );
}

/** Modal: the page below keeps its state, but cannot be used until somebody has signed in. */
export function SignInDialog({ username }: { username: string }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="sign-in-again"
      className="card m-auto w-[min(26rem,calc(100vw-2rem))] p-6 text-ink backdrop:bg-bg/80"
      onCancel={(event) => event.preventDefault()}
    >
      <h2 id="sign-in-again">{texts.again}</h2>
      <p className="mb-4 text-ink-soft">{texts.againLead}</p>
      <SignInForm username={username} />
    </dialog>
  );
}

export function LookingForNode({ failed }: { failed: boolean }) {
  return (
    <main className="mx-auto grid min-h-dvh max-w-md content-center gap-4 p-4">
      <h1 className="sr-only">{texts.product}</h1>
      {failed ? (
        <Notice tone="warn" role="alert" title={texts.unreachable}>
          <p>{texts.unreachableLead}</p>
        </Notice>
      ) : (
        <p role="status">{texts.connecting}</p>
      )}
    </main>
  );
}
