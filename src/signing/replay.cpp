// An answer that was given before, given again: decided first, then on record, then released.
#include <utility>

#include "signing/pipeline.hpp"

namespace signet::signing {
namespace {

using base::Code;
using base::MakeError;

Refused AuditUnavailable(std::string message) {
  return {MakeError(Code::kUnavailable, "AuditUnavailable", std::move(message)), std::chrono::seconds(1)};
}

}  // namespace

std::optional<Refused> Pipeline::CheckReplay(Operation& operation, const Replayed& item) const {
  operation.call.algorithm = item.algorithm;  // that of the signature, whatever the policy would choose now
  if (auto refused = Decide(operation)) return refused;
  if (auto refused = CheckHasKey(*operation.active)) return refused;
  if (operation.active->key->public_key.keyID() == item.key_id) return std::nullopt;
  return Refused{MakeError(Code::kFailedPrecondition, "IdempotencyConflict",
                           "the policy has another key since this idempotency key was used: use a new one"),
                 std::nullopt};
}

void Pipeline::Replay(const Caller& caller, std::vector<Replayed> items, ReplayDone done) {
  struct Work {
    std::vector<Replayed> items;
    std::vector<Operation> operations;
    std::size_t open = 0;
    base::Status recorded;
    ReplayDone done;
  };
  auto work = std::make_shared<Work>();
  work->items = std::move(items);
  work->done = std::move(done);
  const auto later = [this, work](std::optional<Refused> refused) {
    deps_.reactor->Post([work, refused = std::move(refused)] { work->done(refused); });
  };
  for (auto& item : work->items) {
    Operation operation;
    operation.caller = caller;
    operation.call = std::move(item.call);
    if (auto refused = CheckReplay(operation, item)) {
      Note(operation, refused->error.reason);
      return later(std::move(refused));
    }
    work->operations.push_back(std::move(operation));
  }
  if (work->operations.empty()) return later(std::nullopt);
  if (!deps_.journal->available()) {
    return later(AuditUnavailable("the audit record cannot be written, so nothing is given out"));
  }
  work->open = work->operations.size();
  for (std::size_t i = 0; i < work->operations.size(); ++i) {
    const auto& operation = work->operations[i];
    const auto& active = *operation.active;
    const auto& meta = active.compiled->policy().metadata;
    std::map<std::string, std::string> fields = {{"record", work->items[i].record},
                                                 {"door", std::string(Name(caller.door))},
                                                 {"principal", caller.principal.username},
                                                 {"identity", std::string(identity::Name(caller.principal.proof))},
                                                 {"policy", meta.name},
                                                 {"policyUID", meta.uid},
                                                 {"policyGeneration", std::to_string(meta.generation)},
                                                 {"policyHash", active.hash},
                                                 {"idempotencyKey", operation.call.idempotency_key}};
    if (caller.pod) fields["podUID"] = caller.pod->uid;
    deps_.journal->Event("replayed", fields, [this, alive = alive_, work](const base::Status& status) {
      if (!status) work->recorded = status;
      if (--work->open > 0 || !*alive) return;
      if (!work->recorded) return work->done(AuditUnavailable(work->recorded.error().message));
      // The policy may have turned while the lines were written.
      for (std::size_t k = 0; k < work->operations.size(); ++k) {
        if (auto refused = CheckReplay(work->operations[k], work->items[k])) {
          Note(work->operations[k], refused->error.reason);
          return work->done(std::move(refused));
        }
      }
      work->done(std::nullopt);
    });
  }
}

}  // namespace signet::signing
