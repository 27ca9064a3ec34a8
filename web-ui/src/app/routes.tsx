/** Pages and their addresses. The node answers every unknown page path with index.html, so these can be bookmarked. */
import { createBrowserRouter, Link, Navigate, useRouteError } from "react-router";
import { AuditPage } from "../features/audit/audit-page.tsx";
import { ConflictPage } from "../features/conflicts/conflict-page.tsx";
import { ConflictsPage } from "../features/conflicts/conflicts-page.tsx";
import { DeviceByName, DevicePage } from "../features/devices/device-page.tsx";
import { DevicesPage } from "../features/devices/devices-page.tsx";
import { IncidentPage } from "../features/incidents/incident-page.tsx";
import { IncidentsPage } from "../features/incidents/incidents-page.tsx";
import { ReportPage } from "../features/incidents/report-page.tsx";
import { MessagesPage } from "../features/messages/messages-page.tsx";
import { NodesPage } from "../features/nodes/nodes-page.tsx";
import { ResourcesPage } from "../features/resources/resources-page.tsx";
import { NewRulePage } from "../features/rules/new-rule-page.tsx";
import { RulePage } from "../features/rules/rule-page.tsx";
import { RulesPage } from "../features/rules/rules-page.tsx";
import { DeadLettersPage } from "../features/sources/dead-letters-page.tsx";
import { SourcesPage } from "../features/sources/sources-page.tsx";
import { Notice } from "../ui/notice.tsx";
import { Shell } from "./shell.tsx";
import { texts } from "./texts.ts";

function NotFound() {
  return (
    <div className="grid gap-3">
      <h1>{texts.notFound}</h1>
      <Link className="link" to="/incidents">
        {texts.notFoundNext}
      </Link>
    </div>
  );
}

function Crashed() {
  const error = useRouteError();
  return (
    <main className="mx-auto max-w-2xl p-4">
      <Notice tone="bad" role="alert" title={texts.crashed}>
        <p>{texts.crashedNext}</p>
        <p className="mt-2 font-mono text-sm">{error instanceof Error ? error.message : String(error)}</p>
        <button type="button" className="button mt-3" onClick={() => window.location.reload()}>
          {texts.reload}
        </button>
      </Notice>
    </main>
  );
}

export const router = createBrowserRouter([
  {
    path: "/",
    Component: Shell,
    ErrorBoundary: Crashed,
    children: [
      { index: true, element: <Navigate to="/incidents" replace /> },
      { path: "incidents", Component: IncidentsPage },
      { path: "incidents/new", Component: ReportPage },
      { path: "incidents/:id", Component: IncidentPage },
      { path: "messages", Component: MessagesPage },
      { path: "conflicts", Component: ConflictsPage },
      { path: "conflicts/:id", Component: ConflictPage },
      { path: "resources", Component: ResourcesPage },
      { path: "devices", Component: DevicesPage },
      { path: "devices/sources", Component: SourcesPage },
      { path: "devices/dead-letters", Component: DeadLettersPage },
      { path: "devices/named/:name", Component: DeviceByName },
      { path: "devices/:id", Component: DevicePage },
      { path: "rules", Component: RulesPage },
      { path: "rules/new", Component: NewRulePage },
      { path: "rules/:id", Component: RulePage },
      { path: "nodes", Component: NodesPage },
      { path: "nodes/audit", Component: AuditPage },
      { path: "*", Component: NotFound },
    ],
  },
]);
