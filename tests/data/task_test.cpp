#include "data/task.h"

#include <cmath>

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::TemporaryFolder;

class TaskTest : public ::testing::Test {
 protected:
  Examples load(const Task& task, const std::string& content, Labels labels = Labels::required) const {
    return load_examples(task, folder_.write("f.tsv", content), labels);
  }
  std::string error(const Task& task, const std::string& content) const {
    return message_of<Error>([&] { load(task, content); });
  }

  TemporaryFolder folder_;
};

TEST_F(TaskTest, KnowsTheNineOfGlue) {
  EXPECT_THAT(task_names(),
              ElementsAre("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "MNLI-MM", "QNLI", "RTE", "WNLI"));
  for (const char* name : {"sst2", "SST-2", "sst-2", "Sst_2"}) EXPECT_EQ(find_task(name).name, "SST-2");
  EXPECT_EQ(find_task("mnli-mm").name, "MNLI-MM");
  EXPECT_EQ(find_task("stsb").num_classes(), 1);
  EXPECT_EQ(find_task("sst2").num_classes(), 2);
  EXPECT_FALSE(find_task("cola").is_pair());
  EXPECT_TRUE(find_task("qqp").is_pair());
  EXPECT_THAT(message_of<UsageError>([] { find_task("sst3"); }),
              HasSubstr("\"sst3\"; known tasks: CoLA, SST-2"));
}

TEST_F(TaskTest, LabelsAreInHuggingFacesOrder) {
  EXPECT_THAT(find_task("mnli").labels, ElementsAre("contradiction", "entailment", "neutral"));
  EXPECT_THAT(find_task("qnli").labels, ElementsAre("entailment", "not_entailment"));
  EXPECT_THAT(find_task("rte").labels, ElementsAre("entailment", "not_entailment"));
  for (const char* name : {"cola", "sst2", "mrpc", "qqp", "wnli"}) {
    EXPECT_THAT(find_task(name).labels, ElementsAre("0", "1"));
  }
  EXPECT_THAT(find_task("stsb").labels, IsEmpty());
}

TEST_F(TaskTest, SingleSentences) {
  const Examples got = load(find_task("sst2"), "sentence\tlabel\na fine film \t1\r\ndull\t0\n");
  ASSERT_EQ(got.rows.size(), 2u);
  EXPECT_EQ(got.rows[0].text, "a fine film ");
  EXPECT_EQ(got.rows[0].pair, std::nullopt);
  EXPECT_EQ(got.rows[0].label, 1);
  EXPECT_EQ(got.rows[1].label, 0);
  EXPECT_EQ(got.rows[1].line, 3u);
}

TEST_F(TaskTest, ColaHasNoHeaderButItsTestFileDoes) {
  const Task cola = find_task("cola");
  const Examples got = load(cola, "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tSailors the rode.\n");
  ASSERT_EQ(got.rows.size(), 2u);
  EXPECT_EQ(got.rows[0].text, "The sailors rode.");
  EXPECT_EQ(got.rows[0].label, 1);
  EXPECT_EQ(got.rows[1].label, 0);
  EXPECT_EQ(got.rows[1].line, 2u);
  const Examples test = load(cola, "index\tsentence\n0\tBill whistled.\n", Labels::optional);
  ASSERT_EQ(test.rows.size(), 1u);
  EXPECT_EQ(test.rows[0].text, "Bill whistled.");
  EXPECT_EQ(test.rows[0].label, -1);
  EXPECT_THAT(error(cola, "gj04\t1\tThe sailors rode.\n"), HasSubstr(":1: 3 columns"));
}

TEST_F(TaskTest, MnliInBothLayouts) {
  const Task mnli = find_task("mnli");
  const Examples official = load(
      mnli,
      "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
      "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
      "0\t31193\t31193n\tgovernment\t( a )\t( b )\t(A)\t(B)\tIt rains .\tIt is wet .\tneutral\tentailment\n");
  const Examples compact =
      load(mnli, "index\tsentence1\tsentence2\tgold_label\n0\tIt rains .\tIt is wet .\tentailment\n");
  for (const Examples& got : {official, compact}) {
    ASSERT_EQ(got.rows.size(), 1u);
    EXPECT_EQ(got.rows[0].text, "It rains .");
    EXPECT_EQ(got.rows[0].pair, "It is wet .");
    EXPECT_EQ(got.rows[0].label, 1);
  }
}

TEST_F(TaskTest, PairsOfTheOtherTasks) {
  const auto first = [&](const char* task, const std::string& content) {
    const Example row = load(find_task(task), content).rows.at(0);
    return row.text + "|" + row.pair.value_or("none") + "|" + std::to_string(row.label);
  };
  EXPECT_EQ(first("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\tA \" b\tC\n"), "A \" b|C|1");
  EXPECT_EQ(first("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tA?\tB?\t1\n"),
            "A?|B?|1");
  EXPECT_EQ(first("qnli", "index\tquestion\tsentence\tlabel\n0\tA?\tB.\tnot_entailment\n"), "A?|B.|1");
  EXPECT_EQ(first("rte", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n"), "A|B|0");
  EXPECT_EQ(first("wnli", "index\tsentence1\tsentence2\tlabel\n0\tA\t\t1\n"), "A||1");
}

TEST_F(TaskTest, ScoresOfStsB) {
  const Task task = find_task("sts-b");
  const std::string header =
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";
  const Examples got = load(task, header + "0\tg\tf\ty\t1\tn\tn\tA\tB\t3.75\n");
  EXPECT_EQ(got.rows.at(0).score, 3.75);
  EXPECT_EQ(got.rows.at(0).label, -1);
  for (const char* bad : {"three", "", "nan", "inf", "3.75x", "1e999"}) {
    EXPECT_THAT(error(task, header + "0\tg\tf\ty\t1\tn\tn\tA\tB\t" + bad + "\n"),
                HasSubstr(std::string(":2: the score \"") + bad));
  }
}

TEST_F(TaskTest, QqpLeavesOutBrokenRows) {
  const Examples got = load(find_task("qqp"),
                            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
                            "0\t1\t2\tA?\n3\t4\t5\tC?\tD?\t0\n");
  ASSERT_EQ(got.rows.size(), 1u);
  EXPECT_EQ(got.rows[0].line, 3u);
  EXPECT_THAT(got.skipped_lines, ElementsAre(2u));
}

TEST_F(TaskTest, UnknownLabel) {
  EXPECT_THAT(error(find_task("sst2"), "sentence\tlabel\na\t1\nb\t2\n"),
              HasSubstr("f.tsv:3: unknown label \"2\"; SST-2 has: 0, 1"));
}

TEST_F(TaskTest, MissingColumns) {
  const Task task = find_task("rte");
  EXPECT_THAT(error(task, "index\tsentence1\tlabel\n0\tA\tentailment\n"),
              HasSubstr("no column is named \"sentence2\""));
  const std::string unlabelled = "index\tsentence1\tsentence2\n0\tA\tB\n";
  EXPECT_THAT(error(task, unlabelled), HasSubstr("no column is named \"label\""));
  const Examples got = load(task, unlabelled, Labels::optional);
  EXPECT_EQ(got.rows.at(0).label, -1);
  EXPECT_TRUE(std::isnan(got.rows.at(0).score));
}

TEST_F(TaskTest, CustomColumnsAndLabels) {
  const Task task = custom_task("text, mood", "neg,pos");
  EXPECT_EQ(task.num_classes(), 2);
  const Examples got = load(task, "mood\tid\ttext\npos\t1\tgood\nneg\t2\tbad\n");
  EXPECT_EQ(got.rows.at(0).text, "good");
  EXPECT_EQ(got.rows.at(0).label, 1);
  EXPECT_EQ(got.rows.at(1).label, 0);
  EXPECT_THAT(error(task, "text\tmood\ngood\tbetter\n"),
              HasSubstr(":2: unknown label \"better\"; custom has: neg, pos"));
  EXPECT_EQ(custom_task("a,b,c").text_columns.size(), 2u);
  EXPECT_EQ(evaluate(task, std::vector<std::int32_t>{1}, std::vector<std::int32_t>{1}).at(0).first, "acc");

  for (const char* columns : {"", "a", "a,b,c,d", "a,,b", "a,a"})
    EXPECT_THROW(custom_task(columns), UsageError) << columns;
  for (const char* labels : {"x", "x,", "x,x"})
    EXPECT_THROW(custom_task("a,b", labels), UsageError) << labels;
}

TEST_F(TaskTest, LabelsCollectedFromAFile) {
  Task task = custom_task("text,label");
  EXPECT_EQ(task.num_classes(), 0);
  EXPECT_THAT(error(task, "text\tlabel\nx\ty\n"), HasSubstr("neither given nor collected"));
  const auto collect = [&](const std::string& content) {
    return collect_labels(task, folder_.write("l.tsv", content));
  };
  EXPECT_THAT(collect("text\tlabel\na\tpos\nb\tneg\nc\tpos\n"), ElementsAre("neg", "pos"));
  EXPECT_THAT(collect("text\tlabel\na\t10\nb\t9\nc\t-1\n"), ElementsAre("-1", "9", "10"));
  EXPECT_THAT(message_of<Error>([&] { collect("text\tlabel\na\tx\nb\tx\n"); }),
              HasSubstr("every label is \"x\""));
  std::string many = "text\tlabel\n";
  for (int i = 0; i < 1001; ++i) many += "a\tb" + std::to_string(i) + "\n";
  EXPECT_THAT(message_of<Error>([&] { collect(many); }), HasSubstr("more than 1000 different labels"));
}

TEST_F(TaskTest, FindsTheFileOfASplit) {
  const std::string folder = folder_.path();
  const Task sst2 = find_task("sst2"), mnli = find_task("mnli"), mismatched = find_task("mnli-mm");
  EXPECT_THAT(message_of<Error>([&] { split_file(mnli, folder, Split::dev); }),
              HasSubstr("no dev_matched.tsv, no dev.tsv"));
  EXPECT_THAT(message_of<Error>([&] { split_file(sst2, folder_.path("none"), Split::dev); }),
              HasSubstr("no such"));
  const std::string gz = folder_.write("dev.tsv.gz", "");
  EXPECT_EQ(split_file(sst2, folder, Split::dev), gz);
  const std::string dev = folder_.write("dev.tsv", "");
  EXPECT_EQ(split_file(sst2, folder, Split::dev), dev);
  EXPECT_EQ(split_file(mnli, folder, Split::dev), dev);
  const std::string matched = folder_.write("dev_matched.tsv", "");
  EXPECT_EQ(split_file(mnli, folder, Split::dev), matched);
  EXPECT_THROW(split_file(mismatched, folder, Split::dev), Error);
  const std::string other = folder_.write("dev_mismatched.tsv", "");
  EXPECT_EQ(split_file(mismatched, folder, Split::dev), other);
  const std::string train = folder_.write("train.tsv", "");
  EXPECT_EQ(split_file(mismatched, folder, Split::train), train);
  const std::string test = folder_.write("test.tsv", "");
  EXPECT_EQ(split_file(sst2, folder, Split::test), test);
  EXPECT_EQ(split_file(sst2, train, Split::dev), train);  // a file is taken as it is
}

TEST(Samples, HoldSst2) {
  const Task task = find_task("SST-2");
  const std::string folder = testing::source_dir() + "/data/samples/SST-2";
  const auto count = [&](Split split) {
    std::vector<int> counts(2);
    for (const Example& row : load_examples(task, split_file(task, folder, split)).rows)
      ++counts.at(row.label);
    return counts;
  };
  EXPECT_THAT(count(Split::train), ElementsAre(3561, 4439));
  EXPECT_THAT(count(Split::dev), ElementsAre(428, 444));
}

}  // namespace
}  // namespace costeff
