"""The softmax head on frozen embeddings: its training, its Hessian, and its predictions without a sample."""
