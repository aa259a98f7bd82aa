// costeff report: a run as one page for a browser.
#include "tools/cli/report/report.h"

#include <filesystem>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/file.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

// The page's pictures replace a folder, which must be none but theirs.
void check_pictures(const std::string& folder) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(folder, error))) return;
  if (!fs::is_directory(folder)) fail("{} is not a folder; the report's pictures want this name", folder);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".svg") {
      fail("{} holds {}, which is no picture of a report; --out FILE puts the pictures elsewhere", folder,
           entry.path().filename().string());
    }
  }
}

// Draws everything before it writes anything. Returns the headline.
std::string make_page(const std::string& run, const std::string& page) {
  Document document = report_document(read_report_data(run));
  const fs::path path(page);
  const std::string pictures = (path.parent_path() / path.stem()).string();
  check_pictures(pictures);
  draw_figures(document);
  write_folder_atomically(pictures, [&](const std::string& folder) {
    for (const Section& section : document.sections) {
      for (const Figure& figure : section.figures) {
        if (!figure.svg.empty())
          write_atomically(fmt::format("{}/{}.svg", folder, figure.name), svg_file(figure));
      }
    }
  });
  write_atomically(page, html_page(document));
  return document.headline;
}

std::string page_of(const std::string& run) {
  return fmt::format("{}/report.html", run);
}

}  // namespace

std::string write_report(const std::string& run) {
  make_page(run, page_of(run));
  return page_of(run);
}

int run_report(const Invocation& invocation) {
  std::string run;
  std::string out;
  Options options(
      "costeff report RUN [options]",
      "Makes one page of a run's folder: RUN/report.html, with its pictures also as files in\n"
      "RUN/report. The run may be unfinished, or one stage. The page needs no network and no other\n"
      "file. gnuplot draws the pictures.");
  options.group("Output");
  options.add("out", "FILE", &out, "the page, as NAME.html; its pictures go to the folder NAME",
              {.shown = "RUN/report.html"});
  options.positional("RUN", &run);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  while (run.size() > 1 && run.ends_with('/')) run.pop_back();
  const std::string page = options.given("out") ? out : page_of(run);
  if (fs::path(page).extension() != ".html") fail_usage("--out {}: the page's name must end in .html", page);

  write_output(fmt::format("{}\n{}\n", make_page(run, page), page));
  return 0;
}

}  // namespace costeff
