#include "tensor/error.h"
#include "tools/commands.h"

namespace costeff {

int run_audit_importance(const Invocation&) {
  fail("costeff audit importance is not there yet");
}

}  // namespace costeff
