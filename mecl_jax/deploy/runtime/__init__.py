"""Answers images early: the runtime of a mecl_jax bundle, in this one file.

It needs Python 3.9 or newer and `pip install numpy onnxruntime`; to read image files, also pillow.

As a program:
  python early_exit.py cat.png dog.png --policy=balanced  # class, probability, exit, milliseconds
  python early_exit.py cat.png --deadline-ms=5            # as deep as the deadline allows
  python early_exit.py cat.png --costs=costs.csv --budget=3  # as deep as 3 mJ allow
  python early_exit.py cat.png --server=http://HOST:PORT --send-after=EXIT  # unsure images are sent
  python early_exit.py --benchmark                        # latency, throughput, deadlines met
  python early_exit.py --list                             # policies and their expected accuracy

As a module:
  network = Network('bundle')
  answers = network(images, policy='fast')       # uint8 [N, height, width, channels]
  answer = network.answer(image, deadline_ms=5)  # uint8 [height, width, channels]
  for answer in network.stream(camera): ...      # one image after the other
  spender = Spender(network, Store(costs, capacity=50, level=25))  # energy for all images
  answer = spender.answer(image, income=2)       # None if the store cannot pay for an answer

A network is a chain of segments, each with an exit. An image leaves at the first exit whose
confidence reaches the threshold of the policy; the segments behind that exit do not run.
"""
