/** The states every list goes through: loading, failed, empty, more to show, and how old what is shown is. */
import type { ReactNode } from "react";
import { inNodeTime, useConnection } from "../api/connection.ts";
import { Age } from "./age.tsx";
import { StaleTag } from "./badges.tsx";
import { ErrorNotice } from "./notice.tsx";
import { common } from "./texts.ts";

export interface QueryLike<Item = unknown> {
  isPending: boolean;
  error: unknown;
  dataUpdatedAt: number;
  refetch: () => unknown;
  data: readonly Item[] | undefined;
  hasNextPage?: boolean;
  isFetchingNextPage?: boolean;
  fetchNextPage?: () => unknown;
}

interface ListStateProps {
  query: QueryLike;
  empty: ReactNode;
  children: ReactNode;
}

export function ListState({ query, empty, children }: ListStateProps) {
  const { reachable } = useConnection();
  if (query.data === undefined) {
    if (query.error) return <ErrorNotice error={query.error} onRetry={() => void query.refetch()} />;
    return (
      <p role="status" className="p-4 text-ink-soft">
        {common.loading}
      </p>
    );
  }
  return (
    <>
      {(query.error || !reachable) && (
        <p className="mb-2 flex flex-wrap items-center gap-2 font-semibold text-warn">
          <StaleTag />
          <span>
            As it was <Age at={inNodeTime(query.dataUpdatedAt)} />
          </span>
        </p>
      )}
      {query.data.length === 0 ? <div className="card p-4 text-ink-soft">{empty}</div> : children}
      {query.hasNextPage && (
        <button
          type="button"
          className="button mt-3 w-full"
          disabled={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage?.()}
        >
          {query.isFetchingNextPage ? common.loading : common.loadMore}
        </button>
      )}
    </>
  );
}
