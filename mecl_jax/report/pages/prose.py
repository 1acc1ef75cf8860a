"""The explanations and captions on the page of a run."""

WORTH = """An exit is a classifier at an inner stage of the network. An image that leaves there
skips all later stages. The table shows the accuracy of every exit on the test split, and its
cost.

Small numbers are 95 % intervals: the uncertainty from the choice of test images. NLL and the
Brier score rate the predicted probabilities; lower is better. ECE, the expected calibration error,
is the mean gap between confidence and accuracy over 15 bins of the confidence; 0 is best. The gaps
of few images are too large by chance, and this is corrected (Kumar, Liang and Ma 2019). AUROC
measures how well confidence separates right from wrong predictions; 1 is perfect, 0.5 is random.
MACs are multiply-accumulates per image, up to the exit and with its head."""
EXITS = 'The exits, earliest first.'
NETWORK = 'The network, from the image on the left to the final exit on the right.'

STOP = """With early exit, an image leaves at the first exit whose confidence reaches a
threshold. Easy images leave early, hard images late. A rule defines the confidence. All
thresholds were chosen on the validation split; the results shown here are those on the test
split."""
AGAINST_MACS = (
  'Test accuracy against the mean MACs per image. Black dots: all images leave at one exit,'
  ' with 95 % intervals. Lines: early exit by one rule, with thresholds from low (most images'
  ' leave early) to high (few do). The MACs of a line include the heads of all exits that an'
  ' image passes. Higher and further left is better.'
)

POINTS = """A policy is a rule with its thresholds, or a fixed exit: all images stop there, no other
head runs, and nothing is decided. An operating point is the policy that meets a target best: the
fewest MACs for at most a given loss of accuracy, or the highest accuracy within given MACs or
milliseconds. If policies are equal, the simplest is chosen, a fixed exit before any rule. Where
times are measured, a rule is chosen only if no fixed exit that meets the target is as accurate and
as fast. Policies are chosen on the validation split, so the test split may miss the target."""
POINTS_TABLE = (
  'The operating points{target}, and all fixed exits that meet it. Accuracy, MACs and time are'
  ' compared with the final exit alone: +0.40 is a gain of 0.40 points. The CSV file has the'
  ' thresholds.'
)
LEAVING = (
  'Share of the test images that leave at each exit, for the operating point of every rule. The'
  ' star marks the chosen operating point.'
)
AREAS = (
  'Mean test accuracy of every rule, without temperature scaling, over the range of MACs that all'
  ' curves cover, {low} to {high}.'
)

UNTIMED = """Time is not proportional to MACs: early stages take more time per MAC. The time of
this network has not been measured. `python -m mecl_jax.main --mode=latency --workdir=DIR`
measures it and adds it to this page."""

TIMED = """Measured times of the compiled network, without the time of compilation. A batch of
one image shows the delay until an answer; large batches show the number of images per second."""
LATENCY = (
  'Time up to each exit. Left: one call with the smallest batch, its median and 99th'
  ' percentile. Right: images per second, for each batch size.'
)
AGAINST_LATENCY = (
  'Test accuracy against the mean time per image. The time of a line is measured with all heads'
  ' and decisions before the exit at which an image leaves. Dots, lines and stars as in the figure'
  ' of accuracy against MACs. Higher and further left is better.'
)

SAVINGS = """Measured time of early exit, compared with the final exit for all images. The
expected time sums the measured times of the stages, each weighted with the share of images that
reach it. The measured time is longer by the time of the exit decisions and of regrouping the
images that continue. All three use the batch size per call that is fastest for the whole
network. Early exit may be faster than expected if smaller batches are faster still. A fixed exit
runs no other head and decides nothing: its expected time is the measured one."""
SAVINGS_FIGURE = (
  'Time of early exit for each batch size; 100 % is the final exit for all images. The dashed'
  ' line is the saving that MACs alone would predict.'
)
SAVINGS_TABLE = (
  'The measurements. Disagreements are images whose class or'
  ' exit differs from the evaluation of the whole test split.'
)

DEADLINES = """When the answer is due at a fixed time, one of two exits may answer: the deepest
exit that finishes in time, or, among all that finish in time, the one with the highest
validation accuracy. An exit finishes in time if 99 of 100 calls do. Before the first exit
finishes, the answer is a random guess."""
DEADLINES_FIGURE = (
  'Test accuracy against the deadline. At each step another exit starts to answer; its number'
  ' stands beside the step.'
)
DISTRIBUTIONS = 'Expected test accuracy for random deadlines.'

ENERGY = """These figures are simulated on a computer: no energy was measured. A device answers one
image per interval from a store. Before each image the store gains the income of the interval; what
is above its capacity is lost. An image whose first segment cannot be paid is missed.

The policy `greedy` goes as deep as the store allows. With `threshold`, images leave by the exit
rule of the operating point, and never deeper than the store allows. `reserve` goes beyond the first
exit only if a share of the capacity is left after that. The share was chosen on the validation
split, for this income; the results are those of test images."""
BUDGETS = (
  """With `budgets`, every image has a budget of its own, and nothing is kept for the next."""
)
ENERGY_FIGURE = (
  'Simulated. Income, level of the store and number of missed images over time, and the answers to'
  ' all images. All are means over repetitions with other test images; the range of the right'
  ' answers has 95 % of the repetitions.'
)
ENERGY_TABLE = (
  'Simulated: what each policy answers and uses. Means over repetitions with other test images;'
  ' small, the range of 95 % of them. Against greedy, each repetition is compared with the same'
  ' images.'
)
ENERGY_SETTINGS = 'What was simulated, and where its numbers come from.'

CALIBRATION = """A calibrated exit is right for 80 % of the images that it predicts with 80 %
confidence. One number per exit, its temperature, was fitted on the validation split to calibrate
it. A temperature changes confidences, but not predictions."""
RELIABILITY = (
  'Accuracy against confidence, for each exit. On the grey diagonal both are equal; below it'
  ' the exit is overconfident. Larger marks hold more images.'
)
EFFECT = 'Effect of the temperatures on the test split; further left is better.'
TEMPERATURES = (
  'Temperatures, and test metrics before and after temperature scaling. The ECE is debiased, with'
  ' its 95 % interval.'
)
EFFECT_ON_RULES = (
  'Effect of the temperatures on early exit: mean test accuracy of every rule over the range of'
  ' MACs that all curves cover.'
)

OVERTHINKING = """A network overthinks an image if an early exit is right and a later exit is
wrong. An oracle that always knew which exit is right would be the upper bound for every rule. If
exits err on different images, the mean of their probabilities may be more accurate than each
exit."""
SHARES = (
  'Above: how often exits are right. Below: the first exit that is right, for each image; the'
  ' exits after it were not needed.'
)
AGREEMENT = (
  'How often two exits predict the same class, and how often both are wrong. Right: 1 means'
  ' that errors are independent; the smaller, the more two exits complement each other.'
)
ENSEMBLES = (
  'Each exit alone, and the mean of the probabilities of all exits up to it. The mean needs the'
  ' heads of all these exits, which early exit by a rule computes anyway.'
)

TRAINING = """If the validation accuracy of an exit still rises at the end of its last phase,
longer training may help. If it falls while the training loss falls too, the exit overfits."""

PACED = """The curriculum first shows a part of the training images, and then more and more of
them; with `easy_first` it starts with the easiest images. When harder images are added, the
training loss rises. This is expected, as long as the validation accuracy does not fall."""

EASY_WEIGHTED = 'The harder a training image, the lower its weight in the loss of an early exit.'
HARD_WEIGHTED = 'The harder a training image, the higher its weight in the loss of an early exit.'
WEIGHTED = """The weight of a training image in the loss of an exit depends on its difficulty. Where
the easiest image has the larger weight, easy images count more; where the hardest has it, hard
images do."""
EARLIER_WEIGHTED = 'The effect is stronger for earlier exits.'
WEIGHTS_CHANGE = 'Weights change linearly from the first to the last step of the phase.'
CURVES = (
  'Training loss, validation accuracy of each exit{visible}. Dotted lines mark the start of a'
  ' phase.'
)
VISIBLE = ', and the share of the training images that the curriculum shows'
WEIGHTS = (
  'Weights of the easiest and the hardest training image in the loss of each exit. In between,'
  ' weights change linearly with the rank of difficulty. They are divided by their mean over the'
  ' batch.'
)

IMAGES = """Test images by the exit at which they leave, at the chosen operating point: those
with the highest confidence, and those with the lowest."""
SHEET = (
  'Images that leave at each exit: the highest confidence on the left, the lowest on the right.'
  ' A frame marks a wrong prediction.'
)
