/** What a push is told besides the tree: who pushes, what may be replaced, how it is proven. Types only. */
import type { Result } from "../diagnostics.ts";
import type { CommitSettings } from "./operations.ts";
import type { SavedMachine } from "./saved-plan/saved-plan.ts";
import type { SecretSource } from "./secrets.ts";
import type { Survey } from "./survey.ts";
import type { Transport } from "./transport.ts";

export interface PushSettings extends CommitSettings {
  /** `user@host` of the pusher, for the machine's lock and its generations. */
  readonly who: string;
  /** Opens another connection, to prove that the machine can still be reached. */
  readonly reconnect: () => Promise<Result<Transport>>;
  /** Replace files that labctl did not make, and another machine's tree. */
  readonly takeOver: boolean;
  /** Remove packages that labctl installed and nobody needs. Undefined: they stay. */
  readonly prunePackages?: boolean;
  /** Plan from what the machine said last, where that is known; not together with `takeOver` or `prunePackages`. Undefined: it is asked. */
  readonly fromMemory?: boolean;
  /** The plan that was saved: if what is found is anything else, nothing is done. Undefined: whatever is found is done. */
  readonly expected?: SavedMachine;
  /** Waited for before anything changes, if there is something to change. */
  readonly onPlan?: (survey: Survey) => Promise<void>;
  /** Aborted: no further step begins, and those that may be left alone are. Undefined: it goes on to its end. */
  readonly signal?: AbortSignal;
  /** The repository that the tree is built from; undefined: it has no identity, and nothing is refused for it. */
  readonly repository: string | undefined;
  /** Undefined: the tree's secrets are all on the machine (rollback). */
  readonly secrets?: SecretSource;
}
