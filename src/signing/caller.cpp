// Who asks: the names of entry points, and whether what one has established belongs together.
#include "audit/record.hpp"
#include "signing/service.hpp"

namespace signet::signing {

std::string_view Name(Door door) {
  switch (door) {
    case Door::kSocket:
      return "socket";
    case Door::kController:
      return audit::kDoorController;
    case Door::kGateway:
      return "gateway";
  }
  return "none";
}

bool IsConsistent(const Caller& caller) {
  const auto proof = caller.principal.proof;
  switch (caller.door) {
    case Door::kSocket:
      return proof == identity::Proof::kAsserted && !caller.pod && !caller.images;
    case Door::kController:
      return proof != identity::Proof::kTokenReview && !caller.pod && !caller.images && !caller.peer;
    case Door::kGateway:
      return proof == identity::Proof::kTokenReview && caller.pod && !caller.pod->uid.empty() && !caller.peer;
  }
  return false;
}

}  // namespace signet::signing
