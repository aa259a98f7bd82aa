#include "tools/cli/audit/faults.h"

#include <fmt/format.h>

#include "tools/cli/pages/text.h"

namespace costeff {

std::string faults_text(const std::vector<audit::Fault>& faults) {
  std::string text;
  for (const audit::Fault& fault : faults) text += fmt::format("FAULT {}: {}\n", fault.place, fault.what);
  return text;
}

std::string faults_html(const std::vector<audit::Fault>& faults) {
  if (faults.empty()) return "";
  std::string items;
  for (const audit::Fault& fault : faults) {
    items += fmt::format("<li><strong>{}</strong>: {}</li>\n", escape_markup(fault.place),
                         escape_markup(fault.what));
  }
  return fmt::format("<ul class=\"notes\" aria-label=\"Faults\">\n{}</ul>\n", items);
}

Json faults_json(const std::vector<audit::Fault>& faults) {
  Json json = Json::array();
  for (const audit::Fault& fault : faults) json.push_back({{"place", fault.place}, {"what", fault.what}});
  return json;
}

}  // namespace costeff
