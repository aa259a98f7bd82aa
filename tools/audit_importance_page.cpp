#include "tools/audit_importance.h"
namespace costeff {
std::string importance_page(const ImportanceReport& report) {
  return report.model;
}
}  // namespace costeff
