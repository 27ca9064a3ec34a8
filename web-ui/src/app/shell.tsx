/** The frame of every page: which node this is, its links, whether it answers, where to go. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link, NavLink, Outlet, ScrollRestoration, useLocation } from "react-router";
import { everything } from "../api/ask-again.ts";
import { inNodeTime, useConnection } from "../api/connection.ts";
import { useEventStream, useLive } from "../api/events.ts";
import { useOpenConflicts, useStatus } from "../api/queries.ts";
import type { Session } from "../api/types.ts";
import { isLinked } from "../features/nodes/link.ts";
import { signOut, useSession } from "../features/session/session.ts";
import { LookingForNode, SignInDialog, SignInPage } from "../features/session/sign-in.tsx";
import { texts as sessionTexts } from "../features/session/texts.ts";
import { Age } from "../ui/age.tsx";
import { label } from "../ui/texts.ts";
import { icons } from "./icons.tsx";
import { texts } from "./texts.ts";
import { Warnings } from "./warnings.tsx";

export function Shell() {
  const session = useSession();
  if (session.data === undefined) return <LookingForNode failed={session.isError} />;
  if (session.data.state === "out") return <SignInPage />;
  return <SignedIn session={session.data.session} lost={session.data.state === "lost"} />;
}

function SignedIn({ session, lost }: { session: Session; lost: boolean }) {
  useEventStream(!lost);
  useWindowTitle();
  const { reachable } = useConnection();
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const firstPath = useRef(pathname);
  // A new page is announced by moving the focus to it, as a full page load would do.
  useEffect(() => {
    if (firstPath.current === pathname) return;
    firstPath.current = "";
    main.current?.focus({ preventScroll: true });
  }, [pathname]);

  return (
    <>
      <a href="#content" className="button absolute top-2 left-2 z-30 -translate-y-20 focus:translate-y-0">
        {texts.skip}
      </a>
      <div className="sticky top-0 z-20 border-b border-line bg-surface">
        <Header session={session} />
        {reachable ? <StoppedBanner /> : <UnreachableBanner />}
      </div>
      <div className="mx-auto max-w-[90rem] md:grid md:grid-cols-[14.5rem_minmax(0,1fr)]">
        <Navigation />
        <main id="content" ref={main} tabIndex={-1} className="px-3 pt-4 pb-28 outline-none sm:px-6 md:pb-10">
          <Outlet />
        </main>
      </div>
      {lost && <SignInDialog username={session.user.name} />}
      <ScrollRestoration />
    </>
  );
}

/** Several nodes may be open side by side: the tab says which it is, and that people are needed. */
function useWindowTitle() {
  const { data: status } = useStatus();
  const open = useOpenConflicts().data?.length ?? 0;
  const name = status?.name;
  useEffect(() => {
    document.title = texts.windowTitle(name, open);
  }, [name, open]);
}

function Header({ session }: { session: Session }) {
  const { data: status } = useStatus();
  const client = useQueryClient();
  const [failed, setFailed] = useState(false);
  return (
    <header className="mx-auto flex max-w-[90rem] flex-wrap items-center gap-x-4 gap-y-1 px-3 py-2 sm:px-6">
      <div className="min-w-0 flex-1 leading-tight">
        <p className="truncate font-bold">
          {status?.name ?? "…"} {status && <span className="font-normal text-ink-soft">· {label(status.role)}</span>}
        </p>
        {status && <p className="truncate text-sm text-ink-soft">{status.operation.title}</p>}
      </div>
      <div className="order-last flex basis-full items-center gap-2 sm:order-none sm:basis-auto sm:gap-4">
        <LinkState />
        <Warnings />
      </div>
      <div className="hidden text-sm leading-tight sm:block">{session.user.name}</div>
      <button
        type="button"
        className="button px-3 text-sm"
        onClick={() => {
          setFailed(false);
          signOut(client).catch(() => setFailed(true));
        }}
      >
        {sessionTexts.signOut}
      </button>
      {failed && (
        <p role="alert" className="basis-full font-semibold text-bad">
          {sessionTexts.signOutFailed}
        </p>
      )}
    </header>
  );
}

/** Links and backlog in a few words; the page of nodes has the rest. */
function LinkState() {
  const { data: status } = useStatus();
  const { reachable } = useConnection();
  const live = useLive();
  if (!status) return null;
  const linked = status.peers.filter(isLinked).length;
  const waiting = Math.max(0, ...status.peers.map((peer) => peer.behind_entries ?? 0));
  const good = reachable && linked > 0 && linked === status.peers.length;
  return (
    <Link
      to="/nodes"
      className="flex min-h-10 min-w-0 flex-1 items-center gap-2 rounded-md text-sm hover:bg-sunken sm:min-h-12 sm:px-2"
    >
      <svg aria-hidden="true" width="12" height="12" viewBox="0 0 12 12" className={good ? "text-ok" : "text-warn"}>
        {good ? (
          <circle cx="6" cy="6" r="6" fill="currentColor" />
        ) : (
          <circle cx="6" cy="6" r="4.5" fill="none" stroke="currentColor" strokeWidth="3" />
        )}
      </svg>
      <span className="leading-tight">
        <span className="sr-only">{texts.linkState}: </span>
        {reachable ? (
          <>
            <span className="font-semibold">
              {status.peers.length === 0 ? texts.alone : texts.linked(linked, status.peers.length)}
            </span>
            <span className="text-ink-soft">
              {status.peers.length > 0 && ` · ${waiting === 0 ? texts.nothingWaiting : texts.waiting(waiting)}`}
              {" · "}
              <span title={live ? undefined : texts.notLiveHint}>{live ? texts.live : texts.notLive}</span>
            </span>
          </>
        ) : (
          <span className="font-semibold">{texts.linksUnknown}</span>
        )}
      </span>
    </Link>
  );
}

/** A node that must not write (a full disk, a log of its own that is longer elsewhere) says so before anybody types. */
function StoppedBanner() {
  const { data: status } = useStatus();
  if (!status?.writes_stopped) return null;
  return (
    <div role="alert" className="border-t-4 border-bad bg-bad-soft">
      <div className="mx-auto max-w-[90rem] px-3 py-2 sm:px-6">
        <p className="font-bold">{texts.stopped}</p>
        <p className="text-sm">
          {status.writes_stopped}. {texts.stoppedNext}
        </p>
      </div>
    </div>
  );
}

function UnreachableBanner() {
  const { lastAnswerMs } = useConnection();
  const client = useQueryClient();
  return (
    <div className="border-t-4 border-warn bg-warn-soft">
      <div className="mx-auto flex max-w-[90rem] flex-wrap items-center justify-between gap-2 px-3 py-2 sm:px-6">
        <div>
          <p role="alert" className="font-bold">
            {texts.unreachable}
          </p>
          <p className="text-sm">
            {lastAnswerMs !== null && (
              <>
                {texts.unreachableSince} <Age at={inNodeTime(lastAnswerMs)} />.{" "}
              </>
            )}
            {texts.unreachableNext}
          </p>
        </div>
        <button type="button" className="button" onClick={() => void client.invalidateQueries(everything)}>
          {texts.reconnect}
        </button>
      </div>
    </div>
  );
}

/** On a phone the state of the links, always at the top, leads to the nodes. */
const pages = ["incidents", "messages", "conflicts", "resources", "devices", "rules", "nodes"] as const;

function Navigation() {
  const conflicts = useOpenConflicts();
  const open = conflicts.data?.length ?? 0;
  return (
    <nav
      aria-label={texts.nav}
      className="fixed inset-x-0 bottom-0 z-20 border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] md:static md:z-auto md:border-0 md:bg-transparent md:p-4"
    >
      <ul className="grid grid-cols-[repeat(6,auto)] md:sticky md:top-32 md:grid-cols-1 md:gap-1">
        {pages.map((page) => (
          <li key={page} className={page === "nodes" ? "hidden md:block" : ""}>
            <NavLink
              to={`/${page}`}
              className={({ isActive }) =>
                `relative flex min-h-16 flex-col items-center justify-center gap-0.5 text-[0.65rem] font-semibold whitespace-nowrap md:min-h-12 md:flex-row md:justify-start md:gap-3 md:rounded-lg md:px-3 md:text-base ${
                  isActive
                    ? "border-t-4 border-accent text-accent md:border-t-0 md:bg-accent-soft"
                    : "border-t-4 border-transparent text-ink-soft hover:text-ink md:border-t-0 md:hover:bg-sunken"
                }`
              }
            >
              {icons[page]}
              <span>{texts[page]}</span>
              {page === "conflicts" && open > 0 && (
                <span className="absolute top-1 right-1/2 translate-x-6 rounded-full bg-bad px-1.5 text-xs font-bold text-surface md:static md:ml-auto md:translate-x-0 md:px-2 md:text-sm">
                  {open}
                  <span className="sr-only"> open</span>
                </span>
              )}
            </NavLink>
          </li>
        ))}
      </ul>
    </nav>
  );
}
