from merge import *
for f in ["red_sim_0_s1_30_6_0.85_50_0.pt","red5_upgma_0_0_0.02_0.0005_s1_lr0.02_pld_fc1_0.2_50_wd0.0005_0.pt"]:
    sd,lab=torch.load(f); print(f, torch.bincount(lab[lab>=0]).sort(descending=True).values.tolist())
    sym="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    for r in lab.view(28,28).tolist(): print("".join("." if a<0 else sym[a] for a in r))
